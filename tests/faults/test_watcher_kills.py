"""Watchers that are killed or away: one Job, one outcome, every byte, or the gap with its size."""

import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import count

import pytest

from tests.faults.conftest import seeds
from tests.support.fault_site import Fault, Site, Stand
from tests.support.waiting import until

pytestmark = [pytest.mark.needs_cluster, pytest.mark.needs_mariadb, pytest.mark.faults]

#: Portals side by side: a build is mostly waiting.
PORTALS = 3
#: More writes than any build of a few lines can have.
MANY = 120
#: A build that prints 55 MB.
LINES = 600_000
LOUD = f'BEGIN {{ for (i = 0; i < {LINES}; i++) printf "%06d {"the quick brown fox jumps over the lazy dog, " * 2} \\n", i }}'


@pytest.fixture(scope="module")
def loud(place: Site) -> Site:
    place.branch("loud", f"RUN /bin/busybox awk '{LOUD}'\n")
    return place


@pytest.fixture
def stand(place: Site) -> Iterator[Stand]:
    with place.portal() as made:
        made.portal.start_web()
        yield made


def killed_at(stand: Stand, number: int, when: str) -> bool:
    """One build whose first watcher dies at its `number`-th write; returns whether there was such a write."""
    event_id, _ = stand.started()
    watcher = stand.portal.start_watcher(Fault(number, when=when))
    until(lambda: watcher.poll() is not None or stand.archived(event_id), 90, stand.portal.logs, every=0.5)
    met = watcher.poll() is not None
    stand.portal.end(watcher)
    after = stand.portal.start_watcher()
    try:
        stand.audit(event_id)
    except AssertionError as error:
        error.add_note(f"The watcher was killed {when} write {number}.")
        raise
    stand.portal.end(after)
    return met


def test_a_watcher_killed_at_any_of_its_writes_leaves_one_job_one_outcome_and_every_byte(place: Site):
    """The web process finds the cluster away, so that all of it is the watcher's, from the launch to the archive."""
    numbers, done = count(1), []

    def kill_on(stand: Stand) -> None:
        stand.portal.start_web(**place.nowhere())
        while (number := next(numbers)) < MANY:
            if not killed_at(stand, number, "after"):
                return
            done.append(number)
            print(f"write {number}", flush=True)

    with ExitStack() as stack:
        stands = [stack.enter_context(place.portal()) for _ in range(PORTALS)]
        with ThreadPoolExecutor(PORTALS) as pool:
            for ended in [pool.submit(kill_on, stand) for stand in stands]:
                ended.result()
    assert len(done) > 20, done


@pytest.mark.parametrize("seed", seeds(ci=2, soak=40))
def test_a_watcher_that_dies_again_and_again_at_its_writes_loses_nothing(place: Site, seed: int, chance: random.Random):
    with place.portal() as stand:
        stand.portal.start_web(**place.nowhere())
        event_id, _ = stand.started()
        deaths = 0
        while not stand.archived(event_id) and deaths < 30:
            watcher = stand.portal.start_watcher(Fault(chance.randint(1, 12), when=chance.choice(["before", "after"])))
            until(lambda watcher=watcher: watcher.poll() is not None or stand.archived(event_id), 60, stand.portal.logs, every=0.5)
            deaths += watcher.poll() is not None
            stand.portal.end(watcher)
        if not stand.archived(event_id):
            stand.portal.start_watcher()
        stand.audit(event_id)
        assert deaths


def test_a_loud_build_whose_only_watcher_is_away_for_a_minute_is_complete_or_shows_its_gap_with_the_size(loud: Site, stand: Stand):
    watcher = stand.portal.start_watcher()
    event_id, run_id = stand.started("loud")
    stand.wait_for_output(run_id, b"000999 the quick")
    stand.portal.end(watcher)
    time.sleep(60)
    stand.portal.start_watcher()
    stand.audit(event_id, gap_is_fine=True)
    print(stand.portal.output_status(run_id)["verdict_detail"])
