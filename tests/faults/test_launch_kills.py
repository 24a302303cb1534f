"""A process that dies in the middle of a launch: exactly one Job runs, whoever goes on."""

import secrets
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from urllib.error import URLError

import pytest

from tests.support.fault_site import Fault, Site, Stand
from tests.support.waiting import until

pytestmark = [pytest.mark.needs_cluster, pytest.mark.needs_mariadb, pytest.mark.faults]

#: Between these lie: the claim, the Job, its Secret, its start, and the commit that says so.
MOMENTS = [
    pytest.param(Fault(what="POST jobs", when="before"), id="between-claim-and-job"),
    pytest.param(Fault(what="POST jobs"), id="between-job-and-secret"),
    pytest.param(Fault(what="POST secrets"), id="between-secret-and-unsuspend"),
    pytest.param(Fault(what="PATCH jobs"), id="between-unsuspend-and-commit"),
    pytest.param(Fault(what="^commit .*runner", number=2, when="before"), id="within-the-commit"),
]


@pytest.fixture(scope="module")
def stand(place: Site) -> Iterator[Stand]:
    with place.portal(limits={"check": 0}) as made:  # whose counts are writes too
        yield made


@pytest.fixture
def idle(stand: Stand) -> Iterator[Stand]:
    yield stand
    stand.portal.stop()


def test_a_web_process_killed_at_any_write_of_a_check_leaves_nothing_or_one_event_with_one_outcome(idle: Stand):
    """Whatever became of the request, repeating it with its Idempotency-Key gives one event."""
    keys: list[str] = []
    answered = False
    while not answered and len(keys) < 20:
        keys.append(f"key {len(keys) + 1} {secrets.token_hex(4)}")
        web = idle.portal.start_web(Fault(len(keys)))
        with suppress(URLError, ConnectionError):
            answered = idle.check(key=keys[-1]).status == 202
        if not answered:
            web.wait(30)
    assert answered
    assert len(keys) > 6
    idle.portal.stop()
    idle.portal.start_web()
    idle.portal.start_watcher()
    before = idle.portal.get("/event/").json["count"]
    events = [idle.check(key=key).json["event"]["id"] for key in keys]
    assert len(set(events)) == len(keys)
    assert idle.portal.get("/event/").json["count"] <= before + 1  # of the one that was killed before its event was committed
    for event_id in events:
        idle.audit(event_id)


@pytest.mark.parametrize("fault", MOMENTS)
def test_a_web_process_killed_while_it_launches_leaves_one_job(idle: Stand, fault: Fault):
    web = idle.portal.start_web(fault)
    with suppress(URLError, ConnectionError):
        idle.check()
    web.wait(30)
    idle.portal.start_web()
    idle.portal.start_watcher()
    event, *_ = idle.portal.get("/event/?ordering=-id&page_size=1").json["results"]
    idle.audit(event["id"])


@pytest.mark.parametrize("fault", MOMENTS)
def test_a_watcher_killed_while_it_launches_leaves_one_job(idle: Stand, fault: Fault):
    idle.portal.start_web(**idle.site.nowhere())
    event_id, _ = idle.started()
    watcher = idle.portal.start_watcher(fault)
    watcher.wait(60)
    idle.portal.end(watcher)
    idle.portal.start_watcher()
    idle.audit(event_id)


@pytest.mark.parametrize("do", ["stop", "stop and kill"])
def test_a_watcher_that_goes_on_with_a_launch_when_the_run_is_over_leaves_its_job_and_no_secret(place: Site, do: str):
    """It stood still between Job and Secret, and wakes when that was taken away; it may be killed before it takes back its own."""
    with place.portal() as stand:
        _go_on_late(stand, do)


def _go_on_late(stand: Stand, do: str) -> None:
    space = stand.site.shop.space
    stand.portal.start_web(**stand.site.nowhere())
    event_id, run_id = stand.started()
    late = stand.portal.start_watcher(Fault(what="POST secrets", do=do, when="before"))
    until(lambda: stand.portal.has_met("stop"), 30, stand.portal.logs)
    other = stand.portal.start_watcher()
    stand.audit(event_id)
    (run,) = stand.runs(event_id)
    tidied = f"SELECT COUNT(*) FROM runner WHERE id = {run_id} AND tidied_at IS NOT NULL"
    until(lambda: stand.site.mariadb.execute(tidied, database=stand.database) == [(1,)], 30, stand.portal.logs)
    until(lambda: space.get("jobs", run["name"])["status"].get("completionTime"), 30)
    if "kill" in do:
        stand.portal.end(other)  # it might take the Secret away before it was seen
        late.send_signal(signal.SIGCONT)
        assert late.wait(30) == -signal.SIGKILL
        assert space.get("secrets", run["name"])
        stand.portal.start_watcher()
    else:
        late.send_signal(signal.SIGCONT)
        time.sleep(3)
    until(lambda: not space.get("secrets", run["name"]), 30, stand.portal.logs)
    stand.audit(event_id)
