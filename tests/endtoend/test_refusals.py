"""What the cluster or the registry refuses, or can't answer, has its own answer; a build that can wait waits."""

import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.endtoend.stage import Stage, cluster_stage
from tests.support.cluster import GIT_LOGIN

pytestmark = pytest.mark.needs_cluster

#: No server has this port: connections are refused at once.
NOWHERE = "https://127.0.0.1:9"


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with cluster_stage(tmp_path_factory.mktemp("refusals"), "buildkit", build={"max_running": 2}) as made:
        yield made


def points(stage: Stage, **body) -> dict[str, bool | None]:
    answer = stage.check(dry_run=True, **body)
    assert answer.status == 200, answer.body
    return {point["name"]: point["ok"] for point in answer.json["checks"]}


def test_a_dry_run_passes_every_point_and_creates_nothing(stage: Stage):
    before = stage.portal.get("/event/").json["count"], len(stage.jobs())
    found = points(stage)
    assert found == {"repository": True, "dockerfile": True, "build_path": True, "registry": True, "backend": True}
    assert (stage.portal.get("/event/").json["count"], len(stage.jobs())) == before


def test_a_dry_run_tells_of_a_missing_dockerfile(stage: Stage):
    assert points(stage, dockerfile="nothing/Dockerfile")["dockerfile"] is False


def test_a_dry_run_tells_of_a_registry_that_refuses_the_push(stage: Stage):
    """The configured login is for the configured registry alone: under its other name the same registry gets none."""
    other = f"localhost:{stage.registry.port}/ci/app"
    assert points(stage, image=other)["registry"] is False


def test_a_cluster_that_refuses_the_job_is_a_502_that_names_the_event(stage: Stage):
    """A quota without room for one more Job."""
    assert stage.shop is not None
    space = stage.shop.space
    space.create("resourcequotas", {"metadata": {"name": "none"}, "spec": {"hard": {"count/jobs.batch": "0"}}})
    path = space.path("resourcequotas") + "/none"
    deadline = time.monotonic() + 20
    while "used" not in space.admin.request("GET", path)[0].get("status", {}) and time.monotonic() < deadline:
        time.sleep(0.2)
    try:
        assert points(stage)["backend"] is False
        answer = stage.check()
    finally:
        space.delete("resourcequotas", "none")
    assert answer.status == 502, answer.body
    assert answer.headers["Content-Type"] == "application/problem+json"
    event = stage.portal.event(answer.json["event"]["id"])
    assert answer.headers["Location"] == f"/event/{event['id']}/"
    assert event["status"] == "4"
    assert "quota" in event["reason"]
    assert event["reason"] == answer.json["detail"]


def test_builds_beyond_max_running_wait_with_their_reason_and_then_run(stage: Stage):
    answers = [stage.check("slow") for _ in range(3)]
    assert [answer.status for answer in answers] == [202] * 3
    last = stage.portal.event(answers[2].json["event"]["id"])
    assert last["status"] == "1"
    assert "2 builds run at once" in last["reason"]
    ended = [stage.portal.wait(answer.json["event"]["id"], seconds=90) for answer in answers]
    assert [(event["status"], event["reason"]) for event in ended] == [("3", "")] * 3


def test_fifty_identical_checks_in_parallel_are_one_build(stage: Stage):
    with ThreadPoolExecutor(10) as pool:  # as many as the development server's backlog holds
        answers = list(pool.map(lambda _: stage.check("slow", force=False), range(50)))
    assert sorted(answer.status for answer in answers) == [200] * 49 + [202]
    assert len({answer.json["event"]["id"] for answer in answers}) == 1
    event = stage.portal.wait(answers[0].json["event"]["id"])
    assert event["status"] == "3"
    assert len([job for job in stage.jobs() if job["metadata"]["labels"]["ci-portal/event-id"] == str(event["id"])]) == 1


def test_a_cluster_that_is_away_leaves_the_run_waiting_until_it_is_back(stage: Stage):
    """The API server's address is taken out of the kubeconfig and put back, with a new portal process at each."""
    assert stage.shop is not None
    kubeconfig = Path(stage.shop.space.kubeconfig)
    kept = kubeconfig.with_suffix(".kept")
    shutil.copy(kubeconfig, kept)
    server = next(line for line in kept.read_text().splitlines() if "server:" in line)
    kubeconfig.write_text(kept.read_text().replace(server, f"{server.partition('server:')[0]}server: {NOWHERE}"))
    stage.portal.restart()
    try:
        answer = stage.check()
        assert answer.status == 202, answer.body
        event = stage.portal.event(answer.json["event"]["id"])
        assert event["status"] == "1"
        assert "cluster" in event["reason"]
    finally:
        shutil.copy(kept, kubeconfig)
        stage.portal.restart()
    assert stage.portal.wait(event["id"])["status"] == "3"


def test_a_registered_repository_builds_by_its_name_alone(stage: Stage):
    user, token = GIT_LOGIN
    registered = stage.portal.post(
        "/repo/",
        {
            "repo_name": "by-name",
            "repo": stage.git.url("team/app.git", stage.host).replace("https://", "https://x:y@"),
            "branch": "main",
            "ca_secret": "test-ca",
        },
    )
    assert registered.status == 201, registered.body
    answer = stage.portal.post("/check/", {"repo": "by-name", "user": user, "token": token})
    assert answer.status == 202, answer.body
    event = stage.portal.wait(answer.json["event"]["id"])
    assert (event["status"], event["repo"]) == ("3", "by-name")


def test_a_build_that_the_cluster_ends_is_built_once_more(stage: Stage):
    assert stage.shop is not None
    space = stage.shop.space
    answer = stage.check("slow")
    first = answer.json["job"]
    stage.wait_for_output(first["id"], b"tick 5 of")
    query = {"labelSelector": f"ci-portal/run-id={first['id']}"}
    pod = space.admin.request("GET", space.path("pods"), query=query)[0]["items"][0]["metadata"]["name"]
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": space.name}}
    space.admin.request("POST", f"{space.path('pods')}/{pod}/eviction", eviction)
    event = stage.portal.wait(answer.json["event"]["id"])
    assert event["status"] == "3", event["reason"]
    runs = stage.portal.get(f"/job/?event={event['id']}&ordering=id").json["results"]
    assert [(run["attempt"], run["status"]) for run in runs] == [(1, "failed"), (2, "succeeded")]
    assert {run["commit"] for run in runs} == {event["commit"]}
