"""Hundreds of Jobs whose pods only pretend to run, on simulated nodes, while watchers are killed at random."""

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from runners.backends.kubernetes_api import MERGE_PATCH, ApiError
from tests.faults.cluster_scene import SLOW, kill_a_watcher
from tests.faults.conftest import seeds
from tests.support.cluster import Namespace
from tests.support.cluster_control import ClusterControl
from tests.support.fault_site import Fault, Site, Stand
from tests.support.recorded import record_builds

pytestmark = [pytest.mark.needs_cluster, pytest.mark.needs_mariadb, pytest.mark.faults]

REPOSITORIES, BUILDS = 30, 300
SECONDS = 480
WATCHERS = 3
COMMIT = "c" * 40
#: What the builds' pods run on.
SIMULATED = {
    "node_selector": {"localcluster": "simulated"},
    "tolerations": [{"key": "localcluster", "operator": "Exists"}],
}
#: How a tenth of the builds fails: by exit code, by not saying the digest, or by saying what is not true.
FAILURES = {
    "exits with 1": "exit code 1",
    "tells no digest": "The builder ended without reporting the pushed image's digest",
    "tells a digest that is nowhere": "The registry does not have the digest",
    "tells another commit": "instead of " + COMMIT,
}


@dataclass
class Conductor:
    """Decides how each pod ends, by annotations that the simulated nodes follow; `fates` by the id of the event."""

    space: Namespace
    chance: random.Random
    digest: str
    fates: dict[int, str]
    seen: set[str] = field(default_factory=set)
    closed: bool = False

    def run(self) -> None:
        """Conduct until `closed`."""
        while not self.closed:
            try:
                for pod in self.space.admin.request("GET", self.space.path("pods"))[0]["items"]:
                    self._conduct(pod["metadata"])
            except ApiError:
                pass
            time.sleep(0.3)

    def _conduct(self, meta: dict[str, Any]) -> None:
        event_id = int(meta.get("labels", {}).get("ci-portal/event-id", 0))
        if meta["name"] in self.seen or event_id not in self.fates:
            return
        fate = self.fates[event_id]
        report = {"exit": 0, "commit": COMMIT, "digest": self.digest}
        report |= {
            "tells a digest that is nowhere": {"digest": "sha256:" + "0" * 64},
            "tells another commit": {"commit": "d" * 40},
            "tells no digest": {"digest": ""},
            "exits with 1": {"exit": 1},
        }.get(fate, {})
        annotations = {
            "localcluster/seconds": str(self.chance.randint(1, 15)),
            "localcluster/message": json.dumps(report),
            "localcluster/outcome": "Failed" if fate == "exits with 1" else "",
        }
        path = f"{self.space.path('pods')}/{meta['name']}"
        self.space.admin.request("PATCH", path, {"metadata": {"annotations": annotations}}, content_type=MERGE_PATCH)
        self.seen.add(meta["name"])


@pytest.fixture(scope="module")
def simulated(cluster_control: ClusterControl) -> Iterator[None]:
    cluster_control.simulate(4)
    yield
    cluster_control.kill("kwok")
    for number in range(4):
        cluster_control.admin.request("DELETE", f"/api/v1/nodes/simulated-{number + 1}")


@pytest.fixture
def stand(place: Site, simulated: None) -> Iterator[Stand]:
    with place.portal(kubernetes=SIMULATED) as made:
        made.portal.start_web()
        yield made


def recorded(stand: Stand) -> list[int]:
    """Record the builds; returns the ids of their events."""
    record_builds(stand.portal, REPOSITORIES, BUILDS, COMMIT)
    return [row[0] for row in rows(stand, "SELECT id FROM event ORDER BY id")]


def rows(stand: Stand, query: str) -> list[tuple[Any, ...]]:
    return stand.site.mariadb.execute(query, database=stand.database)


def pushed(stand: Stand) -> str:
    """Push one image under each repository's name; returns its digest."""
    images = {row[0] for row in rows(stand, "SELECT image FROM event")}
    registry = stand.site.shop.registry
    digests = {registry.push(image.removeprefix(f"{registry.address}/"), layer=b"simulated") for image in images}
    assert len(images) == REPOSITORIES
    (digest,) = digests
    return digest


@pytest.mark.parametrize("seed", seeds(ci=1, soak=5))
def test_every_one_of_300_builds_has_its_own_outcome_once_while_watchers_are_killed(stand: Stand, chance: random.Random):
    events = recorded(stand)
    failing = chance.sample(events, BUILDS // 10)
    fates = dict.fromkeys(events, "succeeds") | {event: chance.choice(list(FAILURES)) for event in failing}
    conductor = Conductor(stand.site.shop.space, chance, pushed(stand), fates)
    conducting = threading.Thread(target=conductor.run, daemon=True)
    conducting.start()
    for _ in range(WATCHERS):
        stand.portal.start_watcher(Fault(number=0))
    kills, deadline = 0, time.monotonic() + SECONDS * SLOW
    while left := rows(stand, "SELECT COUNT(*) FROM event WHERE status IN ('1', '2')")[0][0]:
        assert time.monotonic() < deadline, (left, kills, stand.portal.logs())
        kill_a_watcher(stand, chance)
        kills += 1
        print(f"{kills} watchers killed, {left} builds left", flush=True)
        time.sleep(chance.uniform(2, 12))  # what a killed watcher followed is taken over when its claims lapse, after 12 s
    conductor.closed = True
    conducting.join()
    assert kills > 3
    audit(stand, fates)


def audit(stand: Stand, fates: dict[int, str]) -> None:
    """Every build has the outcome and the reason that its pod gave it, told once, from one Job with one pod."""
    wrong = []
    for event, status, reason, digest in rows(stand, "SELECT id, status, reason, digest FROM event"):
        expected = FAILURES.get(fates[event])
        right = status == "4" and expected in reason and not digest if expected else status == "3" and digest and not reason
        wrong += [] if right else [(event, fates[event], status, reason)]
    assert not wrong, wrong
    made = rows(stand, "SELECT name, status, event_id, attempt FROM runner")
    assert len(made) == BUILDS
    assert {stand.site.census.of(name) for name, *_ in made} == {(1, 1)}
    assert Counter(status for _, status, *_ in made) == {"succeeded": BUILDS * 9 // 10, "failed": BUILDS // 10}
    told = Counter(rows(stand, "SELECT event_uuid, msg FROM log WHERE event_uuid IS NOT NULL"))
    assert [line for line, times in told.items() if times > 1] == []
    ends = [event for event, msg in told if " succeeded: " in msg or " failed: " in msg]
    assert Counter(ends) == dict.fromkeys(fates, 1)
