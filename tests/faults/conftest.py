"""Seeds and numbers of repetition: few in CI, many in a soak. Each seed is a test's parameter, so that a failure names it."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

import pytest

from tests.support.cluster_control import cluster_control, control  # noqa: F401
from tests.support.fault_site import Site, site

SOAK = bool(os.environ.get("FAULTS_SOAK"))
#: The first seed; another each day in a soak would be as good, but could not be repeated.
FIRST_SEED = int(os.environ.get("FAULTS_SEED", "1"))


def times(ci: int, soak: int) -> int:
    """How often something is repeated: FAULTS_REPEAT, or `soak` with FAULTS_SOAK set, else `ci`."""
    return int(os.environ.get("FAULTS_REPEAT") or (soak if SOAK else ci))


def seeds(ci: int, soak: int) -> list[int]:
    """As many seeds as `times` says."""
    return list(range(FIRST_SEED, FIRST_SEED + times(ci, soak)))


@pytest.fixture
def chance(seed: int) -> random.Random:
    """Chance as the test's seed has it."""
    return random.Random(seed)


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One namespace, git server, registry and MariaDB server for all tests of the session."""
    with site(tmp_path_factory.mktemp("faults")) as made:
        yield made
