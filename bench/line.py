"""A line printed in the pod until it is at 100 readers of the live output, beside a follower of the same pod's log.

Both times count from the moment at which the container runtime noted the line, which is what the API server says with
`timestamps=true`. One loop in one process reads all, so that what reading costs is the same for all.
"""

from __future__ import annotations

import asyncio
import re
import ssl
import time
from base64 import b64decode
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from bench.measure import Result, Series, Target
from bench.place import Place, Plan
from runners.backends.kubernetes_api import ApiError
from tests.support.waiting import until

READERS = 100
LINE = re.compile(rb"bench line (\d+) ends")


def run(place: Place, plan: Plan) -> list[Result]:
    """The row. `size` is the number of readers."""
    lines, readers = plan.repeats(300, 20), plan.sized(READERS, 5)
    loop = f'i=0; while [ $i -lt {lines} ]; do i=$((i+1)); echo "bench line $i ends"; /bin/busybox usleep 50000; done'
    place.branch("lines", f"RUN /bin/busybox sleep 2; {loop}; /bin/busybox sleep 1\n")
    site = place.buildah
    job = site.checked(place.check(branch="lines", ca_secret="test-ca"))["job"]
    path = until(lambda: _log_of(place, job["name"]), 60)
    reading = Reading(place.shop.space.kubeconfig, site.port, job["id"])
    floor, ours = asyncio.run(reading.all(path, readers))
    return [_result(lines, readers, floor, ours)]


def _result(lines: int, readers: int, floor: dict[int, tuple[float, float]], ours: list[dict[int, float]]) -> Result:
    assert len(floor) == lines, f"the floor saw {len(floor)} of {lines} lines"
    assert all(len(reader) == lines for reader in ours), "a reader lost lines"
    least = Series.of((arrived - printed) * 1000 for printed, arrived in floor.values())
    mine = Series.of((arrived - floor[number][0]) * 1000 for reader in ours for number, arrived in reader.items())
    targets = [
        Target("p50 ≤ floor + 40 ms", mine.median - least.median, 40),
        Target("p99 ≤ floor + 150 ms", mine.p99 - least.p99, 150),
    ]
    return Result(
        "line", f"printed to {readers} readers", mine, least, targets, {"p99": f"{mine.p99:.1f} ms, floor {least.p99:.1f} ms"}
    )


def _log_of(place: Place, job: str) -> str:
    """The path of the build container's log, "" until it can be read."""
    space = place.shop.space
    query = {"labelSelector": f"batch.kubernetes.io/job-name={job}"}
    for pod in space.admin.request("GET", space.path("pods"), query=query)[0]["items"]:
        path = f"{space.path('pods')}/{pod['metadata']['name']}/log?container=build&follow=true&timestamps=true"
        try:
            reply = space.admin.stream(path.partition("?")[0], {"container": "build", "limitBytes": "1"}, 10)
        except ApiError:
            return ""
        reply.close()
        return path
    return ""


class Reading:
    """All readers of one run, in one loop."""

    def __init__(self, kubeconfig: str, port: int, run_id: int) -> None:
        self.cluster = yaml.safe_load(Path(kubeconfig).read_text())
        self.port, self.run_id = port, run_id

    async def all(self, path: str, readers: int) -> tuple[dict[int, tuple[float, float]], list[dict[int, float]]]:
        """Read to the end; returns {line: (printed, arrived)} of the floor and {line: arrived} of each reader."""
        floor, *ours = await asyncio.gather(self._floor(path), *(self._reader() for _ in range(readers)))
        return floor, list(ours)

    async def _floor(self, path: str) -> dict[int, tuple[float, float]]:
        server = urlsplit(self.cluster["clusters"][0]["cluster"]["server"])
        token = self.cluster["users"][0]["user"]["token"]
        found: dict[int, tuple[float, float]] = {}
        headers = {"Host": server.netloc, "Authorization": f"Bearer {token}"}
        async for line, arrived in _lines(str(server.hostname), server.port or 443, self._context(), path, headers):
            if number := LINE.search(line):
                printed = datetime.fromisoformat(line.split(b" ", 1)[0].decode()[:26] + "+00:00").timestamp()
                found[int(number[1])] = (printed, arrived)
        return found

    async def _reader(self) -> dict[int, float]:
        found: dict[int, float] = {}
        headers = {"Host": "127.0.0.1", "Accept": "text/event-stream"}
        async for line, arrived in _lines("127.0.0.1", self.port, None, f"/job/{self.run_id}/output/", headers):
            found |= {int(number): arrived for number in LINE.findall(line)}
        return found

    async def count(self) -> int:
        """One reader to the end, however often it has to begin again where it was; returns how many lines it got."""
        lines, last, ended = 0, "", False
        headers = {"Host": "127.0.0.1", "Accept": "text/event-stream"}
        while not ended:
            again = {"Last-Event-ID": last} if last else {}
            async for line, _ in _lines("127.0.0.1", self.port, None, f"/job/{self.run_id}/output/", headers | again):
                if line.startswith(b"id: "):
                    last = line[4:].strip().decode()
                elif line.startswith(b"data: "):
                    lines += line.count(b"\\n")
                ended = ended or line == b"event: end\n"
        return lines

    def _context(self) -> ssl.SSLContext:
        cluster = self.cluster["clusters"][0]["cluster"]
        given: dict[str, Any] = {"cafile": cluster.get("certificate-authority")}
        if data := cluster.get("certificate-authority-data"):
            given = {"cadata": b64decode(data).decode()}
        return ssl.create_default_context(**given)


async def _lines(host: str, port: int, context: ssl.SSLContext | None, path: str, headers: dict[str, str]) -> Any:
    """GET; yields each line of what comes, and when it came."""
    reader, writer = await asyncio.open_connection(host, port, ssl=context, limit=1 << 22)
    sent = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    writer.write(f"GET {path} HTTP/1.1\r\n{sent}Connection: close\r\n\r\n".encode())
    while line := await reader.readline():
        yield line, time.time()
    writer.close()
