"""What a build needs is deleted, refused or used up: one true sentence for each, in bounded time, told everywhere.

The builds run side by side; each test does its harm to one of them, or waits for the end of what was bound to fail.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from runners.backends.kubernetes_api import MERGE_PATCH, Api
from tests.faults.cluster_scene import SLOW, succeeds, ticking, wait_for_tick
from tests.support.cluster import Namespace, portal_rules
from tests.support.cluster_control import ClusterControl, wait_for
from tests.support.fault_site import Site, Stand

pytestmark = [pytest.mark.needs_cluster, pytest.mark.needs_mariadb, pytest.mark.faults]

#: A problem that might still go away (an image that is being pushed, a quota) is waited for a minute.
PATIENCE_SECONDS = 60
#: What the cluster, the watcher and a machine under load need on top of what is waited for on purpose.
SLACK_SECONDS = 60
LIMITS = {"limits": {"memory": "256Mi", "ephemeral-storage": "200Mi"}, "requests": {"memory": "32Mi", "ephemeral-storage": "10Mi"}}
BRANCHES = {
    "hangs": ticking(120),
    "ticks-20": ticking(20),
    "hungry": "RUN x=0123456789abcdef; while :; do x=$x$x$x$x; done\n",
    "fat": "RUN /bin/busybox dd if=/dev/zero of=/fat bs=1M count=300; /bin/busybox sleep 90\n",
}


@dataclass
class Build:
    """A build that was started."""

    stand: Stand
    event_id: int
    run_id: int
    name: str

    @property
    def space(self) -> Namespace:
        return self.stand.site.shop.space

    def fails(self, sentence: str, seconds: float) -> dict[str, Any]:
        """Wait for its end: failed with this sentence on event, run and history, without a second attempt. Returns the event."""
        event = self.stand.portal.ended(self.event_id, seconds * SLOW)
        assert event["status"] == "4"
        assert sentence in event["reason"]
        (run,) = self.stand.runs(self.event_id)
        assert (run["status"], run["reason"]) == ("failed", event["reason"])
        assert event["reason"] in self.stand.history(self.event_id)[-1]
        assert self.stand.portal.output_status(self.run_id)["closed"]
        return event

    def succeeds(self, seconds: float) -> None:
        """Wait for its end: succeeded, as one Job with one pod."""
        succeeds(self.stand, self.event_id, seconds)

    def waits(self, sentence: str, seconds: float = SLACK_SECONDS) -> None:
        """Wait until the event tells that it waits for this."""
        wait_for(lambda: sentence in self.stand.portal.event(self.event_id)["reason"], sentence, seconds * SLOW)


def start(stand: Stand, branch: str) -> Build:
    event_id, run_id = stand.started(branch)
    return Build(stand, event_id, run_id, stand.portal.get(f"/job/{run_id}/").json["name"])


def running(stand: Stand, branch: str = "hangs") -> Build:
    build = start(stand, branch)
    wait_for_tick(stand, build.run_id, 3)
    return build


@pytest.fixture(scope="module")
def stand(place: Site, cluster_control: ClusterControl) -> Iterator[Stand]:
    for branch, step in BRANCHES.items():
        place.branch(branch, step)
    with place.portal(build={"builder": "buildah"}, kubernetes={"resources": LIMITS}) as made:
        made.portal.start_web()
        made.portal.start_watcher()
        yield made


@pytest.fixture(scope="module")
def unlucky(place: Site, stand: Stand) -> Iterator[Stand]:
    """A portal whose builds have 40 s, and an image for the clone that is nowhere."""
    with place.portal(build={"builder": "buildah", "clone_image": "registry.invalid/no/such:1"}) as made:
        made.portal.start_web()
        made.portal.start_watcher()
        yield made


@pytest.fixture(scope="module")
def hurried(place: Site, stand: Stand) -> Iterator[Stand]:
    with place.portal(build={"builder": "buildah", "timeout_seconds": 40}) as made:
        made.portal.start_web()
        made.portal.start_watcher()
        yield made


@pytest.fixture(scope="module")
def doomed(stand: Stand, unlucky: Stand, hurried: Stand) -> dict[str, Build]:
    """Builds that fail by themselves, all started at once."""
    return {
        "image": start(unlucky, "ticks-20"),
        "deadline": start(hurried, "hangs"),
        "hungry": start(stand, "hungry"),
        "fat": start(stand, "fat"),
    }


def test_a_deleted_job_fails_its_build(doomed: dict[str, Build], stand: Stand):
    build = running(stand)
    build.space.delete("jobs", build.name)
    build.fails("The Job was deleted from the cluster before the build ended.", SLACK_SECONDS)


def test_a_deleted_pod_fails_its_build(doomed: dict[str, Build], stand: Stand):
    build = running(stand)
    build.space.delete("pods", pod_of(build)["metadata"]["name"])
    build.fails("The pod was deleted before the build ended.", SLACK_SECONDS)


def test_a_secret_deleted_after_the_pod_has_it_harms_nothing(doomed: dict[str, Build], stand: Stand):
    build = running(stand, "ticks-20")
    build.space.delete("secrets", build.name)
    build.succeeds(60 + SLACK_SECONDS)


def test_memory_that_ran_out_fails_the_build(doomed: dict[str, Build]):
    doomed["hungry"].fails("Out of memory in build: give builds more (kubernetes.resources)", SLACK_SECONDS)


def test_more_disk_than_is_allowed_fails_the_build(doomed: dict[str, Build]):
    doomed["fat"].fails("The build was evicted, it used more disk than it may", 90 + SLACK_SECONDS)


def test_a_time_limit_that_has_passed_fails_the_build(doomed: dict[str, Build]):
    doomed["deadline"].fails("The build did not end within its time limit of 40 s and was stopped.", 40 + SLACK_SECONDS)


def test_an_image_that_can_not_be_pulled_fails_the_build(doomed: dict[str, Build]):
    event = doomed["image"].fails("The image registry.invalid/no/such:1 of clone can't be pulled", PATIENCE_SECONDS + SLACK_SECONDS)
    assert len(doomed["image"].stand.history(event["id"])) < 12  # its back-off is not told at every turn


def test_a_build_waits_for_a_node_with_room_and_a_secret_deleted_meanwhile_fails_it(stand: Stand, control: ClusterControl):
    control.patch_node({"spec": {"unschedulable": True}})
    build = start(stand, "ticks-20")
    build.waits("no node has room: 0/1 nodes are available: 1 node(s) were unschedulable")
    build.space.delete("secrets", build.name)
    control.patch_node({"spec": {"unschedulable": None}})
    build.fails("A volume of the build can't be mounted", PATIENCE_SECONDS + SLACK_SECONDS)


def test_a_build_that_no_node_has_room_for_is_started_when_there_is_room(stand: Stand, control: ClusterControl):
    control.patch_node({"spec": {"unschedulable": True}})
    build = start(stand, "main")
    build.waits("no node has room: 0/1 nodes are available: 1 node(s) were unschedulable")
    control.patch_node({"spec": {"unschedulable": None}})
    build.succeeds(SLACK_SECONDS)


@pytest.fixture
def quota(stand: Stand) -> Iterator[dict[str, str]]:
    """What the namespace may hold, until the test ends; the test fills it in."""
    space = stand.site.shop.space
    name, hard = "full", {}
    yield hard
    if hard:
        space.delete("resourcequotas", name)


def fill(space: Namespace, hard: dict[str, str]) -> None:
    space.create("resourcequotas", {"metadata": {"name": "full"}, "spec": {"hard": hard}})
    wait_for(lambda: (space.get("resourcequotas", "full") or {})["status"].get("hard") == hard, "the quota to be counted", 30)


def test_a_quota_of_jobs_that_is_full_refuses_the_check(stand: Stand, quota: dict[str, str]):
    quota["count/jobs.batch"] = "1"
    fill(stand.site.shop.space, quota)
    answer = stand.check()
    assert answer.status == 502, answer.body
    event = stand.portal.event(answer.json["event"]["id"])
    assert (event["status"], "exceeded quota: full" in event["reason"]) == ("4", True), event
    assert event["reason"] in stand.history(event["id"])[-1]


def test_a_quota_of_pods_that_is_full_fails_the_build(stand: Stand, quota: dict[str, str]):
    quota["pods"] = "0"
    fill(stand.site.shop.space, quota)
    build = start(stand, "main")
    build.waits("The cluster refuses the build's pod: exceeded quota: full")
    build.fails("The cluster refuses the build's pod: exceeded quota: full", PATIENCE_SECONDS + SLACK_SECONDS)


def pod_of(build: Build) -> dict[str, Any]:
    query = {"labelSelector": f"batch.kubernetes.io/job-name={build.name}"}
    (pod,) = build.space.admin.request("GET", build.space.path("pods"), query=query)[0]["items"]
    return pod


@pytest.fixture
def role(stand: Stand) -> Iterator[Any]:
    """Gives the portal's account other rights, until the test ends."""
    space = stand.site.shop.space
    account = Api(space.kubeconfig)

    def may(verb: str, group: str, resource: str) -> bool:
        asked = {"namespace": space.name, "verb": verb, "group": group, "resource": resource}
        body = {"spec": {"resourceAttributes": asked}}
        review = account.request("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body)[0]
        return bool(review["status"]["allowed"])

    def change(rules: list[dict[str, Any]], verb: str, group: str, resource: str, allowed: bool) -> None:
        space.admin.request("PATCH", f"{space.path('roles')}/portal", {"rules": rules}, content_type=MERGE_PATCH)
        wait_for(lambda: may(verb, group, resource) == allowed, "the Role to be known", 30)

    yield change
    change(portal_rules(), "create", "", "secrets", True)
    account.close()


def read_only(rules: list[dict[str, Any]], *resources: str) -> list[dict[str, Any]]:
    """The rules without the right to change these resources."""
    reads = [{**rule, "verbs": [verb for verb in rule["verbs"] if verb in ("get", "list", "watch")]} for rule in rules]
    kept = [now if set(rule["resources"]) & set(resources) else rule for now, rule in zip(reads, rules, strict=True)]
    return [rule for rule in kept if rule["verbs"]]


def test_a_namespace_made_read_only_refuses_checks_and_what_runs_ends_truly(stand: Stand, role: Any):
    build = running(stand, "ticks-20")
    role(read_only(portal_rules(), "jobs", "secrets"), "create", "batch", "jobs", False)
    answer = stand.check()
    assert answer.status == 502, answer.body
    event = stand.portal.event(answer.json["event"]["id"])
    assert event["status"] == "4"
    assert "may not create jobs.batch" in event["reason"] or "may not create jobs" in event["reason"], event
    assert "give it the Role that deploy/ has for it" in event["reason"]
    build.succeeds(60 + SLACK_SECONDS)
    assert build.space.get("secrets", build.name)  # it may not be deleted now


def test_a_refused_secret_refuses_the_check_and_leaves_no_job(stand: Stand, role: Any):
    role(read_only(portal_rules(), "secrets"), "create", "", "secrets", False)
    answer = stand.check()
    assert answer.status == 502, answer.body
    event = stand.portal.event(answer.json["event"]["id"])
    assert event["reason"].startswith("The build's Secret was refused by the cluster"), event
    space = stand.site.shop.space
    wait_for(lambda: space.get("jobs", event["job"]) is None, "the Job to be deleted", 30)
