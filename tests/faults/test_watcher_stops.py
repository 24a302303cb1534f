"""Watchers that are stopped for a while, as a paused machine is, and wake when others have taken over: they write nothing stale."""

import random
import re
import signal
import time
from collections.abc import Iterator

import pytest

from runners.leases import LEASE_SECONDS
from tests.faults.conftest import seeds
from tests.support.fault_site import Fault, Site, Stand
from tests.support.waiting import until

pytestmark = [pytest.mark.needs_cluster, pytest.mark.needs_mariadb, pytest.mark.faults]


@pytest.fixture
def stand(place: Site) -> Iterator[Stand]:
    with place.portal() as made:
        made.portal.start_web()
        yield made


def test_a_watcher_stopped_for_longer_than_its_lease_writes_nothing_when_it_wakes(stand: Stand):
    first = stand.portal.start_watcher()
    event_id, run_id = stand.started("long")
    stand.wait_for_output(run_id, b"tick 20 of")
    first.send_signal(signal.SIGSTOP)
    second = stand.portal.start_watcher()
    before = len(stand.portal.output(run_id))
    until(lambda: len(stand.portal.output(run_id)) > before + 500, LEASE_SECONDS + 10, stand.portal.logs)
    first.send_signal(signal.SIGCONT)
    stand.audit(event_id)
    assert first.poll() is None
    assert second.poll() is None
    log = (stand.portal.folder / "watch.log").read_text()
    assert re.search("its lease was lost|another watcher stores its output", log), log


def test_a_watcher_stopped_until_all_is_over_changes_nothing_when_it_wakes(stand: Stand):
    first = stand.portal.start_watcher()
    event_id, run_id = stand.started()
    stand.wait_for_output(run_id, b"line 2 of")
    first.send_signal(signal.SIGSTOP)
    stand.portal.start_watcher()
    stand.audit(event_id)
    told, output = stand.history(event_id), stand.portal.output(run_id)
    first.send_signal(signal.SIGCONT)
    time.sleep(3)
    stand.audit(event_id)
    assert (stand.history(event_id), stand.portal.output(run_id)) == (told, output)


@pytest.mark.parametrize("seed", seeds(ci=2, soak=30))
def test_a_watcher_stopped_within_a_transaction_keeps_nobody_waiting_for_ever(stand: Stand, seed: int, chance: random.Random):
    """It holds locks on rows then; the database takes them back."""
    first = stand.portal.start_watcher(Fault(chance.randint(2, 8), "^commit .*output", do="stop", when="before"))
    event_id, _ = stand.started()
    until(lambda: stand.portal.has_met("stop"), 30, stand.portal.logs)
    stand.portal.start_watcher()
    stand.portal.ended(event_id, 90)
    first.send_signal(signal.SIGCONT)
    time.sleep(2)
    stand.audit(event_id)
