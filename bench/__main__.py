"""`python -m bench`: measure every row, print the table, write the JSON.

Exit status 1 where a target is missed or a row breaks off.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import signal
import sys
import tempfile
import time
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")

from bench.measure import Result, exponent, table
from bench.place import Place, Plan

#: Row → sizes of its growth, the usual one among them; none where the row does not grow.
ROWS: dict[str, tuple[int, ...]] = {
    "check": (),
    "build": (),
    "line": (),
    "output": (10_000, 600_000, 5_000_000),
    "many": (10, 300, 1_000),
    "shared": (),
    "readers": (10, 200, 2_000),
    "steady": (60, 600, 3_600),
    "lists": (1_000, 30_000, 1_000_000),
    "viewer": (10_000, 100_000, 1_000_000),
}

#: Rows that need a cluster.
CLUSTER = {"check", "build", "line", "output", "many", "shared", "steady"}


def measured(names: list[str], place: Place, plan: Plan, broken: list[str]) -> list[Result]:
    """Run rows one after the other, each shown as soon as it is known. One that breaks off is named in `broken`."""
    results: list[Result] = []
    for name in names:
        began = time.monotonic()
        print(f"{name} …", file=sys.stderr, flush=True)
        found: list[Result] = []
        try:
            found = importlib.import_module(f"bench.{name}").run(place, plan)
        except Exception:
            traceback.print_exc()
            broken.append(name)
        results += found
        print(f"{table(found)}\n{name}: {time.monotonic() - began:.0f} s\n", file=sys.stderr, flush=True)
    return results


def grown(names: list[str], place: Place, plan: Plan, sizes: list[int], broken: list[str]) -> tuple[list[Result], dict[str, float]]:
    """Run each row with each of its sizes; returns all results, and the exponent of each cost."""
    results, points = [], {}
    for name in names:
        for size in sizes or ROWS[name]:
            for result in measured([name], place, Plan(plan.quick, size, plan.repeat), broken):
                what = result.what.replace(f"{size:,}", "n")
                points.setdefault(f"{name}, {what}", []).append((size, result.ours.median))
                result.what += f" at {size:,}" if what == result.what else ""
                results.append(result)
    return results, {what: exponent(found) for what, found in points.items()}


def machine() -> dict[str, Any]:
    """What it was measured on."""
    model = next(
        (line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line), ""
    )
    return {"cpus": os.cpu_count(), "cpu": model, "python": platform.python_version(), "load": os.getloadavg()}


def main(arguments: list[str]) -> int:
    """Parse, measure, tell."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "--only", action="append", choices=list(ROWS), metavar="ROW", help=f"one of {', '.join(ROWS)}; may be repeated"
    )
    parser.add_argument("--quick", action="store_true", help="tiny sizes: proves that every row still runs, measures nothing")
    parser.add_argument("--growth", action="store_true", help="each row over several sizes, with the exponent of its cost")
    parser.add_argument(
        "--sizes", type=lambda text: [int(size) for size in text.split(",")], default=[], help="sizes of --growth: 10,100"
    )
    parser.add_argument("--repeat", type=int, default=0, help="how often each is measured")
    parser.add_argument("--json", type=Path, default=Path("var/bench.json"), help="where the figures go (var/bench.json)")
    given = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as an exception it ends the servers too
    names = [name for name in ROWS if name in (given.only or ROWS)]
    if CLUSTER & set(names) and not os.environ.get("KUBECONFIG"):
        parser.error(f"KUBECONFIG must name a cluster for {', '.join(sorted(CLUSTER & set(names)))}; the others: --only ROW")
    exponents: dict[str, float] = {}
    broken: list[str] = []
    began, before = datetime.now(UTC), machine()
    with tempfile.TemporaryDirectory(prefix="ci-portal-bench-") as folder:
        place, plan = Place(Path(folder)), Plan(given.quick, 0, given.repeat)
        try:
            if given.growth:
                results, exponents = grown([name for name in names if ROWS[name]], place, plan, given.sizes, broken)
            else:
                results = measured(names, place, plan, broken)
        finally:
            place.close()
    print(table(results))
    for name in broken:
        print(f"{name}: BROKEN OFF")
    for what, value in exponents.items():
        print(f"{what}: cost grows with size to the power of {value:.2f}")
    found = {"began": began.isoformat(), "machine": before, "rows": [result.json() for result in results], "exponents": exponents}
    given.json.parent.mkdir(parents=True, exist_ok=True)
    given.json.write_text(json.dumps(found | {"quick": given.quick}, indent=1) + "\n")
    if broken:
        return 1
    return int(not given.quick and not given.growth and any(not target.reached for each in results for target in each.targets))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
