"""55 MB of output in 600,000 lines until all is stored, beside a follower of the same container's log that stores nothing.

Both begin at the moment at which the container runtime noted the first line. The end is, for the follower, the end of its stream;
for the portal, the commit that says that the container's output was read to its end.
"""

from __future__ import annotations

import time
from datetime import datetime

import pymysql

from bench.build import Floor, outcome
from bench.check import manifests_of
from bench.measure import Result, Target, alternate, cpu_seconds, memory
from bench.place import BenchPortal, Place, Plan
from runners.backends.kubernetes_api import ApiError
from tests.endtoend.stage import WORDS
from tests.support.cluster import Namespace
from tests.support.waiting import until

LINES = 600_000
STORED = """SELECT stream.ended, stream.raw_bytes FROM output_stream AS stream JOIN output ON output.id = stream.output_id
 WHERE output.run_id = %s AND stream.container = 'build'"""


def run(place: Place, plan: Plan) -> list[Result]:
    """The row. `size` is the number of lines."""
    lines = plan.sized(LINES, 2_000)
    loud = f'BEGIN {{ for (i = 0; i < {lines}; i++) printf "%06d {WORDS}\\n", i }}'
    place.branch("loud", f"RUN /bin/busybox sleep 1; /bin/busybox awk '{loud}'; /bin/busybox sleep 1\n")
    site = place.buildah
    with place.mariadb.connect(site.database) as database:
        watched = Watched(site, place.shop.space, database)
        body = place.check(branch="loud", ca_secret="test-ca")
        run_id = watched.build(body)
        floor = Floor(place.shop.space, place.shop.registry.address, manifests_of(site, run_id))
        watched.cpu.clear()
        times = plan.repeats(3, 1)
        ours, least = alternate(times, lambda: watched.once(body), lambda: follow(place.shop.space, floor.create()), warm=0)
        facts, peak = watched.facts(lines), memory(watched.pid)
    targets = [Target("ratio ≤ 1.2", ours.median / least.median, 1.2), Target("watcher ≤ 150 MB", peak * 1.048576, 150)]
    return [Result("output", f"{lines:,} lines to the end", ours, least, targets, facts)]


class Watched:
    """The portal's side, and what its watcher uses for it."""

    def __init__(self, site: BenchPortal, space: Namespace, database: pymysql.connections.Connection) -> None:
        self.site, self.space, self.database = site, space, database
        self.pid = site.watcher()
        self.cpu: list[float] = []
        self.bytes = 0
        self.took = 0.0

    def build(self, body: dict[str, object]) -> int:
        """One build to its end; its output must be proved complete. Returns the run's id."""
        job, before = self.site.checked(body)["job"], cpu_seconds(self.pid)
        began = first_line(self.space, job["name"])[1]
        until(lambda: self._stored(job["id"])[0], 300, every=0.02)
        self.took = (time.time() - began) * 1000
        self.bytes = self._stored(job["id"])[1]
        assert outcome(self.site, job["id"]) == "succeeded", self.site.logs()
        known = self.site.output_status(job["id"])
        assert known["verdict"] == "verified", known
        self.cpu.append(cpu_seconds(self.pid) - before)
        return int(job["id"])

    def once(self, body: dict[str, object]) -> float:
        """One build; returns how long its output took."""
        self.build(body)
        return self.took

    def _stored(self, run_id: int) -> tuple[int, int]:
        with self.database.cursor() as cursor:
            cursor.execute(STORED, (run_id,))
            return cursor.fetchone() or (0, 0)

    def facts(self, lines: int) -> dict[str, str]:
        """The watcher's unit costs."""
        seconds = sorted(self.cpu)[len(self.cpu) // 2]
        mega = self.bytes / 1e6
        return {
            "bytes": f"{self.bytes:,} each, verified",
            "watcher's CPU": f"{seconds:.2f} s, {seconds / mega * 1000:.0f} ms/MB, {seconds / lines * 1e6:.1f} µs/line",
        }


def first_line(space: Namespace, job: str) -> tuple[str, float]:
    """Wait for the first of the many lines; returns the path of the container's log, and when the runtime noted that line."""

    def look() -> tuple[str, float] | None:
        query = {"labelSelector": f"batch.kubernetes.io/job-name={job}"}
        for pod in space.admin.request("GET", space.path("pods"), query=query)[0]["items"]:
            path = f"{space.path('pods')}/{pod['metadata']['name']}/log"
            try:
                said = space.admin.stream(path, {"container": "build", "timestamps": "true", "limitBytes": "4000"}, 10).read()
            except ApiError:
                continue
            for line in said.splitlines():
                if b" 000000 " in line[:45]:
                    return path, datetime.fromisoformat(line.split(b" ")[0].decode()[:26] + "+00:00").timestamp()
        return None

    found: tuple[str, float] = until(look, 120, every=0.1)
    return found


def follow(space: Namespace, job: str) -> float:
    """Follow the log to its end and keep nothing; returns the time since its first line."""
    path, began = first_line(space, job)
    reply = space.admin.stream(path, {"container": "build", "follow": "true"}, 300)
    for _ in reply.stream(1 << 16):
        pass
    return (time.time() - began) * 1000
