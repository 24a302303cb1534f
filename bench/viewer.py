"""The output viewer with a million lines, beside the same page with a hundred, in Chromium.

First paint: from the start of the navigation to the frame after the first lines are in the page. Main thread: the longest task that
Chromium's own tracing saw while the output was scrolled with the wheel and jumped through, in wall time and in CPU time (on a busy
machine the first is longer by what others took). Memory: what the page's process alone has, and its JavaScript heap after a
collection.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser

from bench.measure import Result, Series, Target, alternate
from bench.place import BenchPortal, Place, Plan
from tests.browser.conftest import started_chromium, steady

LINES, FEW = 1_000_000, 100
#: What only a page's main thread does.
SCRIPTED = ("FunctionCall", "EventDispatch", "FireAnimationFrame")
#: Record two runs that have ended, of many lines and of few.
RECORD = """
from django.utils import timezone
from logs.line_index import complete
from logs.output import Recorder
from runners.models import Run
from tests.support import rows
line = b"%07d compiling the file number %d of many\\x1b[32m ok\\x1b[0m\\n"
repository = rows.repository()
for lines in ({many}, {few}):
    event = rows.event(repository, status="3", image_tag=f"v{{lines}}")
    run = rows.run(event, status="succeeded", started_at=timezone.now())
    recorder = Recorder(run.pk, ("build",), [])
    for start in range(1, lines + 1, 20_000):
        part = range(start, min(start + 20_000, lines + 1))
        recorder.append("build", b"".join(line % (n, n) for n in part), str(start))
    complete(recorder.output)  # as the watcher does meanwhile
    recorder.close("succeeded")
"""
#: In each page before its own scripts: when its first lines were painted.
WATCH = """
new MutationObserver((_, observer) => {
  if (document.querySelector(".ov-row[data-line] .ov-text")?.textContent) {
    observer.disconnect();
    requestAnimationFrame(() => requestAnimationFrame(() => { window.painted = performance.now(); }));
  }
}).observe(document, { childList: true, subtree: true, characterData: true });
"""
JUMP = "(part) => { const view = document.querySelector('.ov-view'); view.scrollTop = part * view.scrollHeight; }"


def run(place: Place, plan: Plan) -> list[Result]:
    """The row. `size` is the number of lines."""
    lines = plan.sized(LINES, 5_000)
    with place.portal("sqlite", cluster=False) as site:
        recording = site.manage("shell", "--verbosity", "0", "-c", RECORD.format(many=lines, few=FEW), log="shell.log")
        assert recording.wait(280) == 0, site.logs()
        with chromium(site) as tab:
            paint, least = alternate(plan.repeats(9, 2), lambda: tab.painted(1), lambda: tab.painted(2))
        # In a browser of its own each, so that neither has what the other left behind.
        with chromium(site) as tab:
            few = tab.scrolled(2, plan.quick)
        with chromium(site) as tab:
            many = tab.scrolled(1, plan.quick)
    targets = [Target("≤ 100 ms", many.wall, 100)]
    facts = {"of it CPU": f"{many.cpu:.1f} ms, {few.cpu:.1f} ms with {FEW} lines"}
    size = [Target("≤ 150 MB", many.memory * 1.048576, 150)]
    heap = {"JavaScript heap": f"{many.heap:.1f} MB, {few.heap:.1f} MB with {FEW} lines"}
    return [
        Result("viewer", f"first paint of {lines:,} lines", paint, least, [Target("p95 ≤ 1 s", paint.p95, 1000)]),
        Result("viewer", "longest task while scrolling", Series.of([many.wall]), Series.of([few.wall]), targets, facts),
        Result("viewer", "private memory of the tab", Series.of([many.memory]), Series.of([few.memory]), size, heap, unit="MiB"),
    ]


@dataclass
class Scrolled:
    """What scrolling cost: the longest task in ms, wall and CPU; MiB of the process, MB of its JavaScript heap."""

    wall: float
    cpu: float
    memory: float
    heap: float


class Tab:
    """One page of a Chromium of its own."""

    def __init__(self, site: BenchPortal, browser: Browser) -> None:
        self.site, self.browser = site, browser
        context = browser.new_context(locale="en-GB", viewport={"width": 1280, "height": 900})
        context.set_default_timeout(60_000)
        self.page = context.new_page()
        steady(self.page)
        self.page.add_init_script(WATCH)
        self.cdp = context.new_cdp_session(self.page)

    def painted(self, event_id: int) -> float:
        """Open a build's page anew; returns the ms from the start of the navigation until its first lines are painted."""
        self.page.goto("about:blank")
        self.page.goto(f"{self.site.url}/builds/{event_id}/")
        self.page.wait_for_function("() => window.painted")
        return float(self.page.evaluate("window.painted"))

    def scrolled(self, event_id: int, quick: bool) -> Scrolled:
        """Open a build's page, scroll through its output, and look at what that cost."""
        self.painted(event_id)
        wall, cpu = self._traced(lambda: self._scroll(5 if quick else 40))
        self.cdp.send("HeapProfiler.collectGarbage")
        heap = self.cdp.send("Runtime.getHeapUsage")["usedSize"] / 1e6
        processes = self.browser.new_browser_cdp_session().send("SystemInfo.getProcessInfo")["processInfo"]
        renderers = [process for process in processes if process["type"] == "renderer"]
        renderer = max(renderers, key=lambda process: process["cpuTime"])
        return Scrolled(wall, cpu, private_memory(int(renderer["id"])), heap)

    def _scroll(self, steps: int) -> None:
        self.page.locator(".ov-view").hover()
        for _ in range(steps):
            self.page.mouse.wheel(0, 400)
            self.page.wait_for_timeout(16)
        for step in range(steps):
            self.page.evaluate(JUMP, step * 37 % 100 / 100)
            self.page.wait_for_timeout(40)
        for _ in range(steps):
            self.page.mouse.wheel(0, -1500)
            self.page.wait_for_timeout(16)

    def _traced(self, work: Callable[[], None]) -> tuple[float, float]:
        """Do it while Chromium traces; returns the longest wall and CPU time of a task of the page's main thread, in ms."""
        events: list[dict[str, Any]] = []
        over: list[bool] = []
        self.cdp.on("Tracing.dataCollected", lambda told: events.extend(told["value"]))
        self.cdp.on("Tracing.tracingComplete", lambda _: over.append(True))
        self.cdp.send("Tracing.start", {"categories": "devtools.timeline,toplevel", "transferMode": "ReportEvents"})
        work()
        self.cdp.send("Tracing.end")
        while not over:
            self.page.wait_for_timeout(50)
        scripts = Counter((event["pid"], event["tid"]) for event in events if event.get("name") in SCRIPTED)
        main = scripts.most_common(1)[0][0]
        tasks = [event for event in events if (event["pid"], event["tid"]) == main and event.get("ph") == "X"]
        return tuple(max(task.get(kind, 0) for task in tasks) / 1000 for kind in ("dur", "tdur"))  # type: ignore[return-value]


def private_memory(pid: int) -> float:
    """MiB that only this process has: what would be free without it."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024


@contextmanager
def chromium(site: BenchPortal) -> Iterator[Tab]:
    """The system's Chromium, with one page."""
    with started_chromium() as browser:
        yield Tab(site, browser)
