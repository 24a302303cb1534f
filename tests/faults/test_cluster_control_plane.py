"""The API server or etcd fail during builds: what runs is told truly, what waits is launched later, once."""

import json
import signal
import threading
import time
from collections.abc import Iterator

import orjson
import pytest

from runners.backends.base import BackendError
from runners.backends.kubernetes_api import ApiError
from runners.backends.kubernetes_informer import lines
from tests.faults.cluster_scene import SLOW, succeeds, ticking, wait_for_tick
from tests.support.cluster import SECRETS
from tests.support.cluster_control import ClusterControl
from tests.support.fault_site import Fault, Site, Stand
from tests.support.waiting import until

pytestmark = [pytest.mark.needs_cluster, pytest.mark.needs_mariadb, pytest.mark.faults]

#: How soon all is settled once the API server is back: the scheduler asks it again after at most 30 s.
SETTLED_SECONDS = 90


@pytest.fixture(scope="module")
def stand(place: Site, cluster_control: ClusterControl) -> Iterator[Stand]:
    """A portal with web server and one watcher."""
    for seconds in (8, 20):
        place.branch(f"ticks-{seconds}", ticking(seconds))
    short = {
        "runners.backends.kubernetes_informer._WATCH_SECONDS": 5
    }  # a watch that was cut is not gone on with, one that ended is
    with place.portal(build={"builder": "buildah"}) as made:
        made.portal.start_web()
        made.portal.start_watcher(Fault(number=0), FAULT_SET=json.dumps(short))
        yield made


@pytest.fixture(scope="module")
def strict(place: Site, stand: Stand) -> Iterator[Stand]:
    """A portal whose builds may take 45 s, and which gives up on them 5 s later."""
    hasty = {"runners.follow.GRACE_SECONDS": 5}
    with place.portal(build={"builder": "buildah", "timeout_seconds": 45}) as made:
        made.portal.start_web()
        made.portal.start_watcher(Fault(number=0), FAULT_SET=json.dumps(hasty))
        yield made


def waits_for_the_cluster(stand: Stand, event_id: int) -> bool:
    event = stand.portal.event(event_id)
    return event["status"] == "1" and event["reason"].startswith("The cluster can't")


def test_an_api_server_away_for_5_s_loses_nothing_and_what_waited_is_launched_once(stand: Stand, control: ClusterControl):
    running, run_id = stand.started("ticks-20")
    wait_for_tick(stand, run_id, 20)
    with control.without("kube-apiserver"):
        waiting, _ = stand.started()
        until(lambda: waits_for_the_cluster(stand, waiting), 15 * SLOW, stand.portal.logs)
        time.sleep(5)
    for event_id in (running, waiting):
        succeeds(stand, event_id, SETTLED_SECONDS)


def test_builds_that_ended_while_the_api_server_was_away_for_60_s_succeeded_whatever_their_time_limit(
    stand: Stand, strict: Stand, control: ClusterControl
):
    (ended, run_id), (late, late_run) = stand.started("ticks-8"), strict.started("ticks-8")
    wait_for_tick(stand, run_id, 10)
    wait_for_tick(strict, late_run, 10)
    with control.without("kube-apiserver"):
        waiting, _ = stand.started()
        time.sleep(60)
        assert waits_for_the_cluster(stand, waiting), stand.portal.event(waiting)
    succeeds(strict, late, SETTLED_SECONDS, gap_is_fine=True)  # its Job's own deadline has passed: its pod may be gone
    for event_id in (ended, waiting):
        succeeds(stand, event_id, SETTLED_SECONDS)


def test_after_etcd_was_compacted_the_watch_is_refused_and_what_changed_meanwhile_is_seen(stand: Stand, control: ClusterControl):
    event_id, run_id = stand.started("ticks-8")
    wait_for_tick(stand, run_id, 10)
    (watcher,) = stand.portal.watchers
    version = stand.site.shop.space.admin.request("GET", stand.site.shop.space.path("pods"))[0]["metadata"]["resourceVersion"]
    watcher.send_signal(signal.SIGSTOP)
    time.sleep(14)  # the build ends unseen
    with control.without("kube-apiserver"):  # it remembers what happened since it started, and asks etcd for what was before
        control.compact()
    assert watch_status(stand, version) == 410
    watcher.send_signal(signal.SIGCONT)
    succeeds(stand, event_id, SETTLED_SECONDS)
    assert "listing pods again: too old resource version" in (stand.portal.folder / "watch.log").read_text()
    later, _ = stand.started()
    succeeds(stand, later, SETTLED_SECONDS)


def test_an_api_server_that_has_just_started_refuses_no_build(stand: Stand, control: ClusterControl):
    """It knows no Roles yet and forbids everything for a moment; a refusal would be the end of the build."""
    shop, spec, told = stand.site.shop, stand.site.shop.spec({"Dockerfile": "FROM scratch\n"}), []
    control.kill("kube-apiserver")
    starting = threading.Thread(target=control.start)
    starting.start()
    deadline = time.monotonic() + 60 * SLOW
    while not told or told[-1]:
        try:
            shop.backend.check(spec, SECRETS)
            told.append("")
        except BackendError as error:
            told.append(type(error).__name__)
        assert time.monotonic() < deadline, told[-1]
        time.sleep(0.01)
    starting.join()
    assert set(told) == {"Unreachable", ""}


def watch_status(stand: Stand, version: str) -> int:
    """How the API server answers to a watch from this version on: 200, or the code of its error."""
    space = stand.site.shop.space
    try:
        reply = space.admin.stream(space.path("pods"), {"watch": "1", "resourceVersion": version, "timeoutSeconds": "5"}, 10)
    except ApiError as error:
        return error.status
    for line in lines(reply):
        news = orjson.loads(line)
        return int(news["object"]["code"]) if news["type"] == "ERROR" else 200
    return 200
