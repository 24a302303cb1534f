"""A watcher that is stopped in the middle of a build is gone within seconds, and the next one goes on with nothing lost."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.endtoend.stage import LINES, WORDS, Stage, local_stage
from tests.support.waiting import until

pytestmark = [pytest.mark.needs_buildah, pytest.mark.needs_registry]

#: What hangs is left after 3.5 s; the rest is for a busy machine.
SOON = 6.0


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with local_stage(tmp_path_factory.mktemp("stopping")) as stage:
        yield stage


def checked(stage: Stage, branch: str) -> Any:
    answer = stage.check(branch)
    assert answer.status == 202, answer.body
    return answer.json


def stop_watcher(stage: Stage, number: int = signal.SIGTERM) -> None:
    (watcher,) = stage.portal.watchers
    began = time.monotonic()
    watcher.send_signal(number)
    status = watcher.wait(60)
    took = time.monotonic() - began
    print(f"gone after {took:.2f} s")
    stage.portal.watchers.clear()
    assert (status, took < SOON) == (0, True)
    assert "Traceback" not in (stage.portal.folder / "watch.log").read_text()


def process_of(stage: Stage) -> int:
    """The registry's process."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if str(stage.registry.folder).encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                return int(pid)
        except OSError:
            continue
    raise AssertionError("the registry does not run")


def is_asked(stage: Stage) -> bool:
    """Whether a connection to the registry is open."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return any(line.split()[2].endswith(f":{stage.registry.port:04X}") and line.split()[3] == "01" for line in lines)


def test_in_the_middle_of_a_loud_build(stage: Stage):
    answer = checked(stage, "loud")
    run = answer["job"]["id"]
    for size in (4_000_000, 20_000_000):
        until(lambda size=size: stage.portal.output_status(run)["size"] > size, 120)
        stop_watcher(stage)
        stage.portal.start_watcher()
    event = stage.portal.wait(answer["event"]["id"])
    assert (event["status"], event["reason"]) == ("3", "")
    assert stage.portal.output_status(run)["verdict"] == "verified"
    printed = stage.portal.output(run)
    assert b"".join(b"%06d %b\n" % (number, WORDS.encode()) for number in range(LINES)) in printed


def test_while_the_registry_that_is_to_confirm_the_digest_hangs(stage: Stage):
    answer = checked(stage, "slow")
    stage.wait_for_output(answer["job"]["id"], b"tick 3 of the slow build")
    stop_watcher(stage)
    until(lambda: stage.served_digest(answer["event"]), 60)
    time.sleep(2)  # the push says that it is done
    registry = process_of(stage)
    os.kill(registry, signal.SIGSTOP)
    try:
        stage.portal.start_watcher()
        until(lambda: is_asked(stage), 30)
        stop_watcher(stage)
    finally:
        os.kill(registry, signal.SIGCONT)
    assert stage.portal.event(answer["event"]["id"])["status"] == "2"
    stage.portal.start_watcher()
    assert stage.portal.wait(answer["event"]["id"])["status"] == "3"
