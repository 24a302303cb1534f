"""Two thousand readers of one live output, beside a bare gevent loop that sends the same events to as many.

What is compared is the server's CPU time for each event that reaches a reader, and how long other requests to the portal take
meanwhile: while it serves all readers and a line is printed now and then, and while the bare loop, a process of its own, does. So
what two thousand clients on the same machine take from its processors falls on both; before they come it is measured too.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from bench.measure import Result, Series, Target, clock, cpu_seconds, memory
from bench.place import BenchPortal, Place, Plan
from bench.sse import LINE
from tests.support.portal import ROOT
from tests.support.ports import free_port

READERS = 2_000
EVENTS = 40
PAUSE = 0.5  # seconds between two lines
#: The process that prints: a run that goes on, followed by nobody. Told to on standard input, it prints its lines, and ends.
PRINTER = """
import sys, time
import django
django.setup()
from events.models import Event
from logs.output import Recorder
from runners.models import Run
event = Event.objects.create(name="event-1", repo="app", status="2", managed=True)
run = Run.objects.create(name="app-1", status="running", managed=True, event=event, uid="1" * 32, backend="kubernetes")
recorder = Recorder(run.pk, ("build",), [])
recorder.append("build", b"first line\\n", "0")
print(run.pk, flush=True)
sys.stdin.readline()
for number in range(1, int(sys.argv[1]) + 1):
    recorder.append("build", (sys.argv[2] % number).encode(), str(number))
    time.sleep(float(sys.argv[3]))
recorder.close("succeeded")
"""


def run(place: Place, plan: Plan) -> list[Result]:
    """The row. `size` is the number of readers."""
    readers, events = plan.sized(READERS, 20), plan.repeats(EVENTS, 3)
    pause = 0.1 if plan.quick else PAUSE
    with place.portal(cluster=False) as site, printer(site, events, pause) as (run_id, go):
        asked = lambda: site.ask("GET", "/event/?page_size=1")  # noqa: E731
        others(asked, lambda count: count >= 20)
        before = cpu_seconds(site.server())
        alone = others(asked, lambda count: count >= (20 if plan.quick else 500))
        each = (cpu_seconds(site.server()) - before) / len(alone.samples)
        portal = deliver(site.port, f"/job/{run_id}/output/", site.server(), readers, events, go, asked, each)
        held = memory(site.server(), "VmRSS")
        with bare(events, pause) as (port, pid, go):
            loop = deliver(port, "/", pid, readers, events, go, asked, 0.0)
    targets = [
        Target("lost", portal.lost, 0),
        Target("others' p99 ≤ 1.1 × beside the bare loop", portal.others.p99 / loop.others.p99, 1.1),
    ]
    facts = {
        "others' p50, p99": f"{portal.others.median:.1f}, {portal.others.p99:.1f} ms",
        "beside the bare loop": f"{loop.others.median:.1f}, {loop.others.p99:.1f} ms",
        "without readers": f"{alone.median:.1f}, {alone.p99:.1f} ms",
        "portal's memory with all readers": f"{held:.0f} MiB",
    }
    what = f"an event to each of {readers:,} readers"
    return [Result("readers", what, Series.of([portal.cost]), Series.of([loop.cost]), targets, facts, unit="µs CPU")]


@dataclass
class Delivered:
    """What became of the events, and what they cost."""

    lost: int
    cost: float  # the server's CPU time in µs for each event to each reader
    others: Series


def deliver(
    port: int, path: str, pid: int, readers: int, events: int, go: Callable[[], None], other: Callable[[], Any], each: float
) -> Delivered:
    """Let so many read, then have the lines printed; meanwhile send other requests, each of which takes CPU seconds of its own."""
    command = [sys.executable, "-m", "bench.sse", "read", str(port), path, str(readers)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout
        assert client.stdout.readline() == "ready\n"
        before = cpu_seconds(pid)
        go()
        asked = others(other, lambda _: client.poll() is not None)
        received = int(client.stdout.read())
    used = cpu_seconds(pid) - before - each * len(asked.samples)
    return Delivered(readers * events - received, used / (readers * events) * 1e6, asked)


def others(ask: Callable[[], Any], enough: Callable[[int], bool], pause: float = 0.03) -> Series:
    """Ask again and again; returns how long each answer took."""
    took: list[float] = []
    while not took or not enough(len(took)):
        took.append(clock(ask))
        time.sleep(pause)
    return Series.of(took)


@contextmanager
def printer(site: BenchPortal, events: int, pause: float) -> Iterator[tuple[int, Callable[[], None]]]:
    """A run that prints when told to; yields its id, and how to tell it."""
    command = [sys.executable, "-c", PRINTER, str(events), LINE, str(pause)]
    piped = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, env=site.environment, **piped) as process:  # type: ignore[call-overload]
        yield int(process.stdout.readline()), lambda: _tell(process)
        process.stdin.close()
        assert process.wait(60) == 0


@contextmanager
def bare(events: int, pause: float) -> Iterator[tuple[int, int, Callable[[], None]]]:
    """The bare loop; yields its port, its process id, and how to tell it to print."""
    port = free_port()
    command = [sys.executable, "-m", "bench.sse", "serve", str(port), str(events), str(pause)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        try:
            yield port, process.pid, lambda: _tell(process)
        finally:
            process.kill()


def _tell(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin
    process.stdin.write(b"go\n")
    process.stdin.flush()
