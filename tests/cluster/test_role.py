"""The portal's Role is the least that works: each scenario runs with exactly its own verbs and with none of them missing.

`SCENARIOS` says which verbs of which resources each needs; together they are the Role, so a verb that nothing needs is seen too.
"""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from runners.backends.base import BackendError, RunState
from runners.backends.kubernetes import KubernetesBackend
from runners.backends.kubernetes_api import Api, ApiError
from runners.build import BuildSpec
from tests.support.cluster import DOCKERFILE, SECRETS, Workshop, portal_rules, read_all, wait_until
from tests.support.waiting import until

pytestmark = pytest.mark.needs_cluster

GROUPS = {"jobs": "batch"}  # "" for all others
Verb = tuple[str, str]  # resource, verb


class Witness(Api):
    """The portal's connection; notes what was listed, and what the API server forbade."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.listed: Counter[str] = Counter()
        self.forbidden: list[str] = []

    def request(self, method: str, path: str, body: Any = None, query: Any = None, *rest: Any, **options: Any) -> Any:
        if method == "GET" and "limit" in (query or {}):
            self.listed[path.rpartition("/")[2]] += 1
        return self._noting(super().request, method, path, body, query, *rest, **options)

    def stream(self, *arguments: Any) -> Any:
        return self._noting(super().stream, *arguments)

    def _noting(self, ask: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        try:
            return ask(*arguments, **options)
        except ApiError as error:
            if error.status == 403:
                self.forbidden.append(error.message)
            raise


@dataclass
class Desk:
    """A backend with an account of its own, and a backend with the whole Role that makes what a scenario finds there."""

    shop: Workshop
    backend: KubernetesBackend
    whole: KubernetesBackend
    asked: Witness
    made: list[BuildSpec] = field(default_factory=list)

    def spec(self, **changes: Any) -> BuildSpec:
        """A build that no test waits for."""
        uid = uuid.uuid4().hex
        spec = replace(self.template, run_uid=uid, name=f"run-{uid[:12]}", **changes)
        self.made.append(spec)
        return spec

    @property
    def template(self) -> BuildSpec:
        if "role" not in self.shop.made:
            self.shop.made["role"] = self.shop.spec({"Dockerfile": DOCKERFILE}, ca_secret="")
        return self.shop.made["role"]

    def launched(self, **changes: Any) -> BuildSpec:
        """A build that another portal process launched."""
        spec = self.spec(**changes)
        self.whole.launch(spec, SECRETS)
        return spec

    def hears_of(self, spec: BuildSpec, what: Callable[[RunState], bool], seconds: float) -> None:
        """See that the portal hears of the run without asking for it, and that it becomes as wanted."""
        deadline = time.monotonic() + seconds
        while not self.backend.informer.get(spec.run_uid):
            assert time.monotonic() < deadline, "nothing is heard of the run"
            self.backend.changes(0.5)
        wait_until(self.backend, spec, what, seconds)


def launch(desk: Desk) -> None:
    spec = desk.spec()
    desk.backend.launch(spec, SECRETS)
    assert desk.shop.space.get("jobs", spec.name)["spec"]["suspend"] is False


def launch_what_the_cluster_ended_once_more(desk: Desk) -> None:
    desk.backend.launch(desk.spec(broken_uid=desk.launched().run_uid), SECRETS)
    assert desk.asked.forbidden == [], "without it the build may come to the same node again"


def adopt_what_another_launch_began(desk: Desk) -> None:
    queued = KubernetesBackend(replace(desk.shop.settings, queue="nobodys"), desk.whole.api.kubeconfig)
    spec = desk.spec()
    queued.launch(spec, SECRETS)
    desk.backend.settings = queued.settings  # Kueue's to let go, not ours
    desk.backend.launch(spec, SECRETS)


def check_by_a_dry_run(desk: Desk) -> None:
    assert desk.backend.check(desk.spec(), SECRETS) == []


def follow_a_run(desk: Desk) -> None:
    desk.backend.changes(0)
    assert desk.backend.informer.wait_synced(3), desk.backend.informer.error
    spec = desk.launched()
    desk.hears_of(spec, lambda state: "no node has room" in state.waiting, 30)
    desk.shop.space.delete("jobs", spec.name)
    wait_until(desk.backend, spec, lambda state: not state.exists, 30)
    assert desk.asked.listed["jobs"] == desk.asked.listed["pods"] == 1, "changes come by the watch"


def say_why_a_build_does_not_start(desk: Desk) -> None:
    desk.backend.changes(0)
    assert desk.backend.informer.wait_synced(3), desk.backend.informer.error
    desk.whole.settings = replace(desk.whole.settings, node_selector={})
    spec = desk.launched(ca_secret="no-such-ca")
    mount = {"fieldSelector": f"reason=FailedMount,involvedObject.name={pod_of(desk, spec)}"}
    until(lambda: desk.shop.space.admin.request("GET", desk.shop.space.path("events"), query=mount)[0]["items"], 60)
    desk.hears_of(spec, lambda state: state.problem.startswith("There is no Secret no-such-ca"), 10)
    assert desk.asked.listed["events"] == 1, "Events come by the watch"


def read_output(desk: Desk) -> None:
    if "ended" not in desk.shop.made:
        desk.shop.made["ended"] = desk.shop.spec({"Dockerfile": DOCKERFILE}, commit="1" * 40)
        desk.shop.build(desk.shop.made["ended"])
    printed = b"".join(piece.data for piece in read_all(desk.backend, desk.shop.made["ended"], "clone"))
    assert printed.startswith(b"Cloning https://")


def cancel(desk: Desk) -> None:
    spec = desk.launched()
    desk.backend.delete(spec)
    assert gone(desk, spec)


def reconcile(desk: Desk) -> None:
    spec = desk.launched()
    held = next(each for each in desk.backend.inventory() if each.run_uid == spec.run_uid)
    assert desk.backend.remove(held)
    assert gone(desk, spec)


def tidy_after_a_run(desk: Desk) -> None:
    spec = desk.launched()
    assert desk.backend.has_left(spec)
    desk.backend.settled(spec)
    assert not desk.backend.has_left(spec)
    assert desk.shop.space.get("secrets", spec.name) is None


def needs(**verbs: str) -> set[Verb]:
    return {(resource.replace("_", "/"), verb) for resource, those in verbs.items() for verb in those.split()}


FOLLOWING = needs(jobs="list watch", pods="list watch")
SCENARIOS: dict[Callable[[Desk], None], set[Verb]] = {
    launch: needs(jobs="create patch", secrets="create"),
    launch_what_the_cluster_ended_once_more: needs(jobs="create patch", pods="list", secrets="create"),
    adopt_what_another_launch_began: needs(jobs="create get", secrets="create"),
    check_by_a_dry_run: needs(jobs="create", secrets="create"),
    follow_a_run: FOLLOWING,
    say_why_a_build_does_not_start: FOLLOWING | needs(events="list watch"),
    read_output: needs(jobs="get", pods="list", pods_log="get"),
    cancel: needs(jobs="get delete"),
    reconcile: needs(jobs="list delete"),
    tidy_after_a_run: needs(secrets="delete"),
}
#: What can be taken away from a scenario; that Events add nothing to FOLLOWING is tried there.
WITHOUT = [
    (scenario, verb)
    for scenario, verbs in SCENARIOS.items()
    for verb in sorted(verbs if scenario is not say_why_a_build_does_not_start else verbs - FOLLOWING)
]


def rules(verbs: set[Verb]) -> list[dict[str, Any]]:
    return [{"apiGroups": [GROUPS.get(resource, "")], "resources": [resource], "verbs": [verb]} for resource, verb in sorted(verbs)]


def pairs(of: list[dict[str, Any]]) -> set[tuple[str, str, str]]:
    return {(g, r, v) for rule in of for g in rule["apiGroups"] for r in rule["resources"] for v in rule["verbs"]}


def pod_of(desk: Desk, spec: BuildSpec) -> str:
    return str(until(lambda: desk.shop.space.pods(spec), 30)[0]["metadata"]["name"])


def gone(desk: Desk, spec: BuildSpec) -> bool:
    job = desk.shop.space.get("jobs", spec.name)
    return job is None or "deletionTimestamp" in job["metadata"]


def may(account: Api, namespace: str, verb: Verb) -> bool:
    """Whether the API server says so; it learns of a new Role a moment after it was made."""
    resource, _, part = verb[0].partition("/")
    group = GROUPS.get(resource, "")
    wanted = {"group": group, "resource": resource, "subresource": part, "verb": verb[1], "namespace": namespace}
    review = {"spec": {"resourceAttributes": wanted}}
    answer = account.request("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review)[0]
    return bool(answer["status"]["allowed"])


@contextmanager
def desk_with(shop: Workshop, verbs: set[Verb], monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    kubeconfig = shop.space.account(f"role-{uuid.uuid4().hex[:8]}", rules(verbs))
    # Their pods find no node: what a build does is not the matter here.
    settings = replace(shop.settings, node_selector={"no-such": "node"})
    with monkeypatch.context() as patch:
        patch.setattr("runners.backends.kubernetes.Api", Witness)
        backend = KubernetesBackend(settings, kubeconfig)
    assert isinstance(backend.api, Witness)
    whole = KubernetesBackend(settings, shop.space.kubeconfig)
    desk = Desk(shop, backend, whole, backend.api)
    try:
        until(lambda: all(may(backend.api, shop.space.name, verb) for verb in verbs), 20)
        yield desk
    finally:
        backend.close()
        for spec in desk.made:
            whole.delete(spec)
        whole.close()


def named(scenario: Callable[[Desk], None]) -> str:
    return scenario.__name__


@pytest.mark.parametrize("scenario", SCENARIOS, ids=named)
def test_it_needs_no_more_than_its_verbs(shop: Workshop, scenario: Callable[[Desk], None], monkeypatch: pytest.MonkeyPatch):
    with desk_with(shop, SCENARIOS[scenario], monkeypatch) as desk:
        scenario(desk)
        # Builds go on where Events can't be had: only why one does not start is then not known.
        assert [message for message in desk.asked.forbidden if 'resource "events"' not in message] == []


@pytest.mark.parametrize(
    ("scenario", "verb"), WITHOUT, ids=lambda value: named(value) if callable(value) else f"without-{value[1]}-{value[0]}"
)
def test_it_fails_without(shop: Workshop, scenario: Callable[[Desk], None], verb: Verb, monkeypatch: pytest.MonkeyPatch):
    with desk_with(shop, SCENARIOS[scenario] - {verb}, monkeypatch) as desk:
        with pytest.raises((BackendError, AssertionError)):
            scenario(desk)
        resource, asked = verb
        assert any(f'cannot {asked} resource "{resource}"' in message for message in desk.asked.forbidden), desk.asked.forbidden


def test_the_role_has_every_verb_that_a_scenario_needs_and_no_other():
    assert pairs(portal_rules()) == pairs(rules(set().union(*SCENARIOS.values())))
