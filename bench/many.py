"""A thousand builds at once on simulated nodes, beside the same Jobs without a portal.

The portal records and launches them all; the floor makes the same Jobs and Secrets, as fast as four threads can.
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import orjson
from urllib3.exceptions import HTTPError

from bench.build import Floor
from bench.check import manifests_of
from bench.measure import Result, Series, Target, cpu_seconds, memory
from bench.place import BenchPortal, Place, Plan
from runners.backends.kubernetes_api import ApiError
from tests.support.cluster import Namespace
from tests.support.recorded import record_builds
from tests.support.waiting import until

BUILDS = 1_000
REPOSITORIES = 10
COMMIT = "c" * 40
SECONDS = 5  # that each pod pretends to run
NODES = 4
PODS = {"node_selector": {"localcluster": "simulated"}, "tolerations": [{"key": "localcluster", "operator": "Exists"}]}


def run(place: Place, plan: Plan) -> list[Result]:
    """The row. `size` is the number of builds."""
    builds = plan.sized(BUILDS, 10) // REPOSITORIES * REPOSITORIES
    layer = b"simulated"
    digest = place.shop.registry.push("bench/simulated", layer=layer)
    report = json.dumps({"exit": 0, "commit": COMMIT, "digest": digest})
    annotations = {"localcluster/seconds": str(1 if plan.quick else SECONDS), "localcluster/message": report}
    space = place.shop.space
    with simulated(space), place.portal(kubernetes={**PODS, "pod_annotations": annotations}) as site:
        pid = site.wait_for_watcher()
        prefix = json.loads((site.folder / "configure_server.json").read_text())["registry"]["repository"]
        for number in range(REPOSITORIES):
            place.shop.registry.push(f"{prefix}/app-{number:02}", layer=layer)
        ours = Portal(site, place, pid)
        took, lag = ours.builds(space, builds)
        floor = Floor(space, place.shop.registry.address, manifests_of(site, 1))
        clear(space)
        least = by_hand(space, floor, builds)
        clear(space)
    targets = [
        Target("recorded ≤ 3 s after the last pod", lag, 3),
        Target("watcher ≤ 1 core", ours.cores, 1),
        Target("watcher ≤ 300 MB", memory(pid) * 1.048576 or ours.memory, 300),
    ]
    facts = {"watcher's CPU": f"{ours.cpu:.1f} s, {ours.cpu / builds * 1000:.0f} ms/build", "builds": builds}
    return [Result("many", f"{builds:,} builds at once", Series.of([took]), Series.of([least]), targets, facts, unit="s")]


class Portal:
    """The portal's side, and what its watcher uses for it."""

    def __init__(self, site: BenchPortal, place: Place, pid: int) -> None:
        self.site, self.place, self.pid = site, place, pid
        self.cpu = self.cores = self.memory = 0.0

    def builds(self, space: Namespace, builds: int) -> tuple[float, float]:
        """Record so many, and wait for their outcomes; returns seconds in all, and from the last pod's end to the last outcome."""
        ends, before, began = Ends(space), cpu_seconds(self.pid), time.time()
        record_builds(self.site, REPOSITORIES, builds, COMMIT)
        until(lambda: not self._ask("SELECT COUNT(*) FROM event WHERE status IN ('1', '2')")[0], 280, every=0.25)
        self.cpu, self.memory = cpu_seconds(self.pid) - before, memory(self.pid) * 1.048576
        latest, succeeded = self._ask("SELECT UNIX_TIMESTAMP(MAX(finished_at)), SUM(status = '3') FROM event")
        assert succeeded == builds, (succeeded, self.site.logs())
        self.cores = self.cpu / (float(latest) - began)
        return float(latest) - began, float(latest) - ends.wait(builds)

    def _ask(self, statement: str) -> tuple[Any, ...]:
        return self.place.mariadb.execute("SET time_zone = '+00:00'", statement, database=self.site.database)[0]


class Ends:
    """When each pod of a namespace ended, as a watch tells it."""

    def __init__(self, space: Namespace) -> None:
        self.space = space
        self.at: dict[str, float] = {}
        listed = space.admin.request("GET", space.path("pods"))[0]
        version = listed["metadata"]["resourceVersion"]
        threading.Thread(target=self._watch, args=(version,), daemon=True).start()

    def _watch(self, version: str) -> None:
        reply = self.space.admin.stream(self.space.path("pods"), {"watch": "true", "resourceVersion": version}, 300)
        left = b""
        with suppress(HTTPError):
            for chunk in reply.stream(None):
                *lines, left = (left + chunk).split(b"\n")
                for line in lines:
                    pod = orjson.loads(line)["object"]
                    if pod.get("status", {}).get("phase") in ("Succeeded", "Failed"):
                        self.at.setdefault(pod["metadata"]["name"], time.time())

    def wait(self, pods: int) -> float:
        """When the last of so many ended."""
        until(lambda: len(self.at) >= pods, 280)
        return max(self.at.values())


def by_hand(space: Namespace, floor: Floor, builds: int) -> float:
    """The same Jobs and Secrets without a portal; returns the seconds until the last pod ended."""
    ends, began = Ends(space), time.time()
    with ThreadPoolExecutor(4) as pool:
        for _ in pool.map(lambda _: floor.create(), range(builds)):
            pass
    return ends.wait(builds) - began


def clear(space: Namespace) -> None:
    """Delete all Jobs with their pods, and wait until they are gone."""

    def gone() -> bool:
        try:  # a thousand at once may take the API server longer than it has for one answer: what is left is asked for again
            space.admin.request("DELETE", space.path("jobs"), {"propagationPolicy": "Background"})
            return not space.admin.request("GET", space.path("pods"), query={"limit": "1"})[0]["items"]
        except ApiError:
            return False

    until(gone, 280, every=0.5)


@contextmanager
def simulated(space: Namespace) -> Iterator[None]:
    """Nodes that only pretend to run pods: those that are there already, or some for as long as the block takes."""
    found = space.admin.request("GET", "/api/v1/nodes", query={"labelSelector": "localcluster=simulated"})[0]["items"]
    if found:
        yield
        return
    script = os.environ.get("TEST_CLUSTER_CONTROL")
    assert script, "TEST_CLUSTER_CONTROL must name the script that starts simulated nodes in the cluster of KUBECONFIG"
    run_quietly(script, "simulate", str(NODES))
    try:
        yield
    finally:
        run_quietly(script, "kill", "kwok")
        for number in range(NODES):
            with suppress(ApiError):
                space.admin.request("DELETE", f"/api/v1/nodes/simulated-{number + 1}")


def run_quietly(*command: str) -> None:
    """Run it; what it leaves running must not hold a pipe of ours open."""
    subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True, timeout=120)
