"""A build from the request to its recorded outcome, beside the same manifest created by hand and watched to Complete."""

from __future__ import annotations

import http.client
import time
import uuid
from base64 import b64encode
from typing import Any

import orjson

from bench.check import manifests_of, renamed
from bench.measure import Result, Target, alternate
from bench.place import BenchPortal, Place, Plan
from runners.backends.kubernetes_api import Api
from runners.backends.manifest import docker_config
from tests.support.cluster import GIT_LOGIN, PUSH_LOGIN, Namespace


def run(place: Place, plan: Plan) -> list[Result]:
    """The row."""
    with place.portal() as site:
        site.wait_for_watcher()
        body = place.check(ca_secret="test-ca")
        first = site.checked(body)
        assert outcome(site, first["job"]["id"]) == "succeeded", site.logs()
        floor = Floor(place.shop.space, place.shop.registry.address, manifests_of(site, first["job"]["id"]))
        ours, least = alternate(plan.repeats(7, 1), lambda: _build(site, body), floor.once, warm=0)
    return [Result("build", "request to recorded outcome", ours, least, [Target("ratio ≤ 1.00", ours.median / least.median, 1.0)])]


def _build(site: BenchPortal, body: dict[str, Any]) -> None:
    assert outcome(site, site.checked(body)["job"]["id"]) == "succeeded", site.logs()


def outcome(site: BenchPortal, run_id: int) -> str:
    """Read the run's live output to its end, as a browser does; returns the outcome that it names."""
    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=300)
    connection.request("GET", f"/job/{run_id}/output/", headers={"Accept": "text/event-stream"})
    answer = connection.getresponse()
    ending = False
    for line in answer:
        if ending and line.startswith(b"data: "):
            connection.close()
            return str(orjson.loads(line[6:])["outcome"])
        ending = ending or line == b"event: end\n"
    raise AssertionError("the stream ended without its end")


class Floor:
    """`kubectl create` of Secret and Job, and `kubectl wait`: the same requests, on a connection kept open."""

    def __init__(self, space: Namespace, registry: str, manifests: tuple[dict[str, Any], dict[str, Any]]) -> None:
        secret, self.job = manifests
        values = {"git-username": GIT_LOGIN[0], "git-password": GIT_LOGIN[1]}
        values["registry-config.json"] = docker_config(registry, *PUSH_LOGIN)
        data = {name: b64encode(value.encode()).decode() for name, value in {**secret["stringData"], **values}.items()}
        self.secret = {**{key: value for key, value in secret.items() if key != "stringData"}, "data": data}
        self.space, self.api = space, Api(space.kubeconfig)

    def create(self) -> str:
        """Create both; returns the Job's name."""
        name = f"floor-{uuid.uuid4().hex[:12]}"
        self.api.request("POST", self.space.path("secrets"), renamed(self.secret, name))
        self.api.request("POST", self.space.path("jobs"), renamed(self.job, name))
        return name

    def wait(self, name: str) -> None:
        """Watch the Job until it is Complete. Raises AssertionError where it fails."""
        query = {"watch": "true", "fieldSelector": f"metadata.name={name}"}
        reply = self.space.admin.stream(self.space.path("jobs"), query, 300)
        left = b""
        for chunk in reply.stream(None):
            *lines, left = (left + chunk).split(b"\n")
            for line in lines:
                conditions = orjson.loads(line)["object"].get("status", {}).get("conditions", [])
                held = {condition["type"] for condition in conditions if condition["status"] == "True"}
                assert "Failed" not in held, line
                if "Complete" in held:
                    reply.close()
                    return
        raise AssertionError("the watch ended early")

    def once(self) -> float:
        """From the first request to the condition, in ms."""
        began = time.perf_counter()
        self.wait(self.create())
        return (time.perf_counter() - began) * 1000
