"""What the tests that break the cluster build, and what they look at afterwards."""

from __future__ import annotations

import os
import random
import re
import subprocess
import time

from tests.support.fault_site import Fault, Stand
from tests.support.waiting import until

#: All bounds are times this, for a machine that does much else meanwhile.
SLOW = float(os.environ.get("FAULTS_SLOW", "1"))
TICK = re.compile(rb"tick (\d+) of \d+\r?$", re.MULTILINE)  # BuildKit puts the step's number before it


def ticking(seconds: float) -> str:
    """A step that prints ten numbered lines a second."""
    count = int(seconds * 10)
    loop = f'while [ $i -lt {count} ]; do i=$((i+1)); echo "tick $i of {count}"; /bin/busybox usleep 100000; done'
    return f"RUN i=0; {loop}; /bin/busybox sleep 1\n"


def wait_for_tick(stand: Stand, run_id: int, number: int, seconds: float = 60 * SLOW) -> None:
    """Wait until the run has printed this line."""
    deadline = time.monotonic() + seconds
    while not ticks(stand.portal.output(run_id))[number - 1 :]:
        run = stand.portal.get(f"/job/{run_id}/").json
        assert run["status"] in ("waiting", "launching", "running"), run
        assert time.monotonic() < deadline, run
        time.sleep(0.3)


def ticks(output: bytes) -> list[int]:
    """The numbers of the lines of a ticking step."""
    return [int(number) for number in TICK.findall(output)]


def succeeds(stand: Stand, event_id: int, seconds: float, *, gap_is_fine: bool = False) -> None:
    """Wait for the event's end: succeeded, as one Job with one pod, each line of history once, all output there or the gap told."""
    event = stand.portal.ended(event_id, seconds * SLOW)
    assert event["status"] == "3", (event, stand.portal.logs())
    stand.audit(event_id, gap_is_fine=gap_is_fine)


def attempts(stand: Stand, event_id: int) -> list[tuple[str, tuple[int, int]]]:
    """Of each run of the event: its status, and how many Jobs and pods there ever were for it."""
    return [(run["status"], stand.site.census.of(run["name"])) for run in stand.runs(event_id)]


def working(stand: Stand) -> list[subprocess.Popen[bytes]]:
    """Its watchers that have started, not only been started."""
    said = (stand.portal.folder / "watch.log").read_text()
    return [watcher for watcher in stand.portal.watchers if f":{watcher.pid}:" in said]


def kill_a_watcher(stand: Stand, chance: random.Random, of_run: int = 0) -> None:
    """SIGKILL one watcher, the one that follows `of_run` if there is such a run, while another works; start one in its place."""
    until(lambda: len(working(stand)) > 1, 60 * SLOW, stand.portal.logs)
    time.sleep(chance.uniform(0, 1.5))
    victims = working(stand)
    if of_run:
        holder = stand.site.mariadb.execute(f"SELECT claimed_by FROM runner WHERE id = {of_run}", database=stand.database)[0][0]
        victims = [watcher for watcher in victims if f":{watcher.pid}:" in holder] or victims
    stand.portal.end(chance.choice(victims))
    stand.portal.start_watcher(Fault(number=0))
