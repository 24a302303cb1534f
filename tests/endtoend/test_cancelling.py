"""Cancelling on a real cluster: waiting, launching, running, away, at the moment of success; nothing runs on or is pushed."""

import random
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runners.backends.manifest import GRACE_SECONDS
from tests.endtoend.stage import Stage, cluster_stage
from tests.support.cluster import Cutter
from tests.support.portal import Answer

pytestmark = pytest.mark.needs_cluster

WHO = "Cancelled by an anonymous user."
#: What the cluster takes besides the pod's own grace period: the Job's deletion, the garbage collector, the kubelet.
SLACK_SECONDS = 15
#: Until a build prints, on a machine that has much else to do.
SECONDS = 150


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with cluster_stage(tmp_path_factory.mktemp("cancelling"), "buildkit", build={"max_running": 1}) as made:
        yield made


@pytest.fixture
def stage(shared: Stage) -> Iterator[Stage]:
    """The stage with nothing on it, also where the test before has failed."""
    yield shared
    for event in shared.portal.get("/event/?status=1,2").json["results"]:
        shared.portal.post(f"/event/{event['id']}/cancel/", {})
        shared.portal.wait(event["id"])


def cancel(stage: Stage, answer: Answer) -> Answer:
    return stage.portal.post(f"/event/{answer.json['event']['id']}/cancel/", {})


def run_of(stage: Stage, answer: Answer) -> dict[str, Any]:
    return dict(stage.portal.get(f"/job/{answer.json['job']['id']}/").json)


def ended(stage: Stage, answer: Answer, seconds: float = SECONDS) -> dict[str, Any]:
    return stage.portal.wait(answer.json["event"]["id"], seconds=seconds)


def objects(stage: Stage, answer: Answer, kind: str) -> list[dict[str, Any]]:
    """The run's objects of this kind in the cluster."""
    assert stage.shop is not None
    query = {"labelSelector": f"ci-portal/run-id={answer.json['job']['id']}"}
    space = stage.shop.space
    return list(space.admin.request("GET", space.path(kind), query=query)[0]["items"])


def wait_until_gone(stage: Stage, answer: Answer, seconds: float) -> float:
    """Wait until neither Job nor pod nor Secret is left; returns how long that took."""
    begin = time.monotonic()
    while left := [kind for kind in ("jobs", "pods", "secrets") if objects(stage, answer, kind)]:
        assert time.monotonic() - begin < seconds, f"{left} are still there"
        time.sleep(0.2)
    return time.monotonic() - begin


def test_a_waiting_build_is_cancelled_at_once_and_never_reaches_the_cluster(stage: Stage):
    first, second = stage.check("long"), stage.check("long")
    assert run_of(stage, second)["status"] == "waiting"
    answer = cancel(stage, second)
    assert (answer.status, answer.json["event"]["status"], answer.json["event"]["reason"]) == (200, "5", WHO)
    assert cancel(stage, second).status == 200
    cancel(stage, first)
    ended(stage, first)
    assert objects(stage, second, "jobs") == objects(stage, second, "pods") == []
    wait_until_gone(stage, first, GRACE_SECONDS + SLACK_SECONDS)


def test_a_running_build_is_gone_soon_and_pushes_nothing(stage: Stage):
    answer = stage.check("long")
    stage.wait_for_output(answer.json["job"]["id"], b"tick 2", SECONDS)
    first, second = cancel(stage, answer), cancel(stage, answer)
    assert (first.status, second.status) == (202, 202)
    assert first.json["job"]["cancel_requested_at"] == second.json["job"]["cancel_requested_at"]
    event = ended(stage, answer)
    assert (event["status"], event["reason"]) == ("5", WHO)
    wait_until_gone(stage, answer, GRACE_SECONDS + SLACK_SECONDS)
    assert stage.served_digest(event) == ""
    assert stage.history(event).count(f"run {answer.json['job']['name']} is to be cancelled") == 1


def test_a_newer_check_supersedes_the_one_that_waits_and_not_the_one_that_runs(stage: Stage):
    running = stage.check("long")
    name = running.json["repo"]["repo_name"]
    assert stage.portal.request("PATCH", f"/repo/{name}/", {"supersede": True}).json["supersede"] is True
    older, newer = stage.check("long"), stage.check("long")
    stage.portal.request("PATCH", f"/repo/{name}/", {"supersede": False})
    event = stage.portal.event(older.json["event"]["id"])
    assert (event["status"], event["reason"]) == ("5", f"Superseded by event {newer.json['event']['name']}.")
    assert run_of(stage, newer)["status"] == "waiting"
    assert run_of(stage, running)["status"] in ("launching", "running")
    assert f"run {older.json['job']['name']} cancelled: {event['reason']}" in stage.history(event)
    for answer in (newer, running):
        cancel(stage, answer)
        ended(stage, answer)
    wait_until_gone(stage, running, GRACE_SECONDS + SLACK_SECONDS)


def test_a_build_that_will_not_end_is_killed_within_its_grace_period(stage: Stage):
    answer = stage.check("stubborn")
    stage.wait_for_output(answer.json["job"]["id"], b"tick 2", SECONDS)
    assert [pod["spec"]["terminationGracePeriodSeconds"] for pod in objects(stage, answer, "pods")] == [GRACE_SECONDS]
    cancel(stage, answer)
    wait_until_gone(stage, answer, GRACE_SECONDS + SLACK_SECONDS)
    event = ended(stage, answer)
    assert (event["status"], event["reason"]) == ("5", WHO)
    assert stage.served_digest(event) == ""


def test_a_build_that_kueue_holds_back_is_cancelled_before_it_starts(tmp_path: Path):
    """Nobody lets go of a Job with a queue's label here: it stays suspended, as in a full queue."""
    with cluster_stage(tmp_path, "buildkit", kubernetes={"queue": "builds"}) as stage:
        answer = stage.check()
        assert run_of(stage, answer)["status"] == "launching"
        assert [job["spec"]["suspend"] for job in objects(stage, answer, "jobs")] == [True]
        assert cancel(stage, answer).status == 202
        event = ended(stage, answer)
        assert (event["status"], event["reason"]) == ("5", WHO)
        wait_until_gone(stage, answer, SLACK_SECONDS)


@pytest.fixture
def cutter(stage: Stage, tmp_path: Path) -> Iterator[Cutter]:
    """What the portal reaches the cluster through."""
    assert stage.shop is not None
    kubeconfig = Path(stage.shop.space.kubeconfig)
    kept = kubeconfig.read_text()
    made = Cutter(str(kubeconfig), tmp_path)
    kubeconfig.write_text(Path(made.kubeconfig).read_text())
    stage.portal.restart()
    try:
        yield made
    finally:
        made.refusing = False
        kubeconfig.write_text(kept)
        stage.portal.restart()
        made.close()


def test_a_build_whose_cluster_is_away_is_cancelled_once_it_is_back(stage: Stage, cutter: Cutter):
    answer = stage.check("long")
    stage.wait_for_output(answer.json["job"]["id"], b"tick 2", SECONDS)
    cutter.refusing = True
    cutter.cut()
    assert cancel(stage, answer).status == 202
    time.sleep(3)
    assert run_of(stage, answer)["status"] == "running"
    page = stage.portal.get(f"/builds/{answer.json['event']['id']}/", Accept="text/html").body.decode()
    assert "Being cancelled" in page
    cutter.refusing = False
    event = ended(stage, answer)
    assert (event["status"], event["reason"]) == ("5", WHO)
    wait_until_gone(stage, answer, GRACE_SECONDS + SLACK_SECONDS)

    # The same of one that could not be launched: nobody knows what of it has reached the cluster.
    cutter.refusing = True
    cutter.cut()
    answer = stage.check("long")
    assert run_of(stage, answer)["status"] == "waiting"
    assert [cancel(stage, answer).status for _ in range(2)] == [202, 202]
    time.sleep(2)
    assert run_of(stage, answer)["status"] in ("waiting", "launching")
    cutter.refusing = False
    event = ended(stage, answer)
    assert (event["status"], event["reason"]) == ("5", WHO)
    assert objects(stage, answer, "jobs") == objects(stage, answer, "pods") == []


def test_a_cancel_at_any_moment_ends_in_what_the_registry_has(stage: Stage):
    """Of a build of some seconds: cancelled with nothing pushed, or succeeded with the digest that is served."""
    chance = random.Random(7)
    outcomes = []
    for _ in range(6):
        answer = stage.check("main")
        if chance.random() < 0.5:
            stage.wait_for_output(answer.json["job"]["id"], b"pushing layers", SECONDS)
        time.sleep(chance.uniform(0, 1.5))
        cancel(stage, answer)
        event = ended(stage, answer)
        wait_until_gone(stage, answer, GRACE_SECONDS + SLACK_SECONDS) if event["status"] == "5" else None
        outcomes.append(event["status"])
        assert event["status"] in ("3", "5"), event
        assert event["digest"] == stage.served_digest(event), (event, stage.portal.output(answer.json["job"]["id"]))
        assert re.fullmatch(WHO if event["status"] == "5" else "", event["reason"])
    assert "5" in outcomes, outcomes
