"""Every benchmark of `make bench` still runs; how fast anything is, no test says."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.__main__ import ROWS
from tests.support.cluster_control import VARIABLE

pytestmark = [pytest.mark.needs_cluster, pytest.mark.needs_mariadb, pytest.mark.needs_uwsgi, pytest.mark.needs_browser]
ROOT = Path(__file__).parents[1]


#: Without TEST_CLUSTER_CONTROL there are no simulated nodes for a thousand builds.
RUN = [row for row in ROWS if row not in ("many", "shared") or VARIABLE in os.environ]


def test_every_row_is_measured_beside_its_floor(tmp_path: Path):
    only = [argument for row in RUN for argument in ("--only", row)]
    command = [sys.executable, "-m", "bench", "--quick", "--json", str(tmp_path / "bench.json"), *only]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=850)
    assert done.returncode == 0, done.stderr[-5000:]
    found = json.loads((tmp_path / "bench.json").read_text())["rows"]
    assert {row["row"] for row in found} == set(RUN)
    for row in found:
        assert row["ours"]["median"] > 0
        assert row["floor"]["median"] > 0
        assert row["what"] in done.stdout
