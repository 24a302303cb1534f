"""Memory of the server and of the watcher late in a long live output that is read all the while, beside what it was early in it."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from bench.line import Reading
from bench.measure import Result, Series, Target, cpu_seconds, memory
from bench.place import BenchPortal, Place, Plan

SECONDS = 120
LINES = 50  # a second, of 65 bytes
READERS = 20


def run(place: Place, plan: Plan) -> list[Result]:
    """The row. `size` is how many seconds the build prints."""
    seconds = plan.sized(SECONDS, 8)
    text = "one line of an output that goes on and on, and is read all along"
    second = f"/bin/busybox yes '{text}' | /bin/busybox head -n {LINES}; /bin/busybox sleep 1"
    place.branch("steady", f"RUN i=0; while [ $i -lt {seconds} ]; do i=$((i+1)); {second}; done\n")
    with place.portal(build={"builder": "buildah", "timeout_seconds": seconds + 900}) as site:
        site.wait_for_watcher()
        job = site.checked(place.check(branch="steady", ca_secret="test-ca"))["job"]
        watched = Watched(site, seconds)
        read = asyncio.run(watched.reading(Reading(place.shop.space.kubeconfig, site.port, job["id"])))
        stored = len(site.ask("GET", f"/job/{job['id']}/output/")[1])
        verdict = site.get(f"/job/{job['id']}/").json["output_verdict"]
    assert verdict == "verified", verdict
    assert min(read) == max(read) >= LINES * seconds, (min(read), max(read))
    quarter = max(1, len(watched.samples) // 4)
    early, late = Series.of(watched.samples[quarter : 2 * quarter]), Series.of(watched.samples[-quarter:])
    return [
        Result(
            "steady",
            f"memory over {seconds} s of output",
            late,
            early,
            [Target("ratio ≤ 1.05", late.median / early.median, 1.05)],
            {
                "output": f"{stored:,} bytes, verified, read by {READERS}",
                "CPU": f"watcher {watched.cpu[0] / seconds * 100:.1f} %, server {watched.cpu[1] / seconds * 100:.1f} % of a core",
            },
            unit="MiB",
        )
    ]


class Watched:
    """A portal while its output is read."""

    def __init__(self, site: BenchPortal, seconds: int) -> None:
        self.pids = [site.watcher(), site.server()]
        self.pause = min(10.0, seconds / 40)
        self.samples: list[float] = []
        self.cpu = [0.0, 0.0]

    async def reading(self, run: Reading) -> list[int]:
        """Read to the end; returns how many lines each reader got."""
        before = [cpu_seconds(pid) for pid in self.pids]
        sampling = asyncio.create_task(self._sample())
        await asyncio.sleep(1)
        lines = await asyncio.gather(*(run.count() for _ in range(READERS)))
        self.cpu = [cpu_seconds(pid) - then for pid, then in zip(self.pids, before, strict=True)]
        sampling.cancel()
        with suppress(asyncio.CancelledError):
            await sampling
        return list(lines)

    async def _sample(self) -> None:
        end = time.monotonic() + 24 * 3600
        while time.monotonic() < end:
            self.samples.append(sum(memory(pid, "VmRSS") for pid in self.pids))
            await asyncio.sleep(self.pause)
