"""A portal with local builds whose processes are ended, by hand and by SIGKILL: every build has one true end and all its output."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from runners.backends.local_reasons import LOST_HERE
from tests.local.conftest import processes_of, seeds
from tests.local.test_dev import Dev, dev  # noqa: F401
from tests.support.git_server import git_server
from tests.support.portal import Portal, portal
from tests.support.waiting import until

pytestmark = pytest.mark.needs_buildah

SHELL = "FROM scratch\nCOPY --chmod=755 busybox /bin/busybox\nENV PATH=/bin\n"
COUNTING = 'RUN ["busybox", "sh", "-c", "for i in $(seq 1 60); do echo line $i; sleep 0.1; done"]\n'
LOUD = 'RUN ["busybox", "sh", "-c", "for i in $(seq 1 40); do seq $((i * 10000)) $((i * 10000 + 9999)); sleep 0.1; done"]\n'


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with git_server(tmp_path_factory.mktemp("git")) as running:
        for name, steps in (("counting", COUNTING), ("loud", LOUD)):
            files = {"Dockerfile": SHELL + steps, "busybox": Path("/bin/busybox").read_bytes()}
            running.repository(f"{name}.git").commit(files)
        yield running


@pytest.fixture(scope="module")
def running(server, tmp_path_factory) -> Iterator[Portal]:
    folder = tmp_path_factory.mktemp("portal")
    (folder / "ca.pem").write_text(server.ca_pem)
    git = {"ca_bundle": str(folder / "ca.pem"), "allow_private_networks": True}
    with portal(folder, git=git, build={"folder": str(folder)}, output={"limit_bytes": 1_000_000}) as it:
        yield it
        assert not processes_of(folder / "builds")


def begun(running: Portal, url: str) -> tuple[int, int]:
    """Check the repository; once its build prints, return the ids of event and run."""
    answer = running.post("/check/", {"repo": url, "force": True})
    assert answer.status == 202, answer.body
    event, run = answer.json["event"]["id"], answer.json["job"]["id"]
    until(lambda: b"STEP 4" in running.output(run), 60, lambda: f"{running.event(event)}\n{running.output(run)!r}")
    return event, run


def attempts(running: Portal, event: int) -> list[dict]:
    runs = running.get("/job/?ordering=id").json["results"]
    return [run for run in runs if run["event"] == event]


def test_a_build_goes_on_while_the_portal_is_restarted(running: Portal, server):
    event, run = begun(running, server.url("counting.git"))
    running.restart()
    assert running.wait(event)["status"] == "3"
    assert b"".join(b"line %d\n" % number for number in range(1, 61)) in running.output(run)
    assert running.output_status(run)["verdict"] == "verified"
    assert len(attempts(running, event)) == 1


def test_a_build_that_was_killed_with_all_of_the_portal_is_lost_and_built_once_more(running: Portal, server):
    event, run = begun(running, server.url("counting.git"))
    assert running.web
    running.web.kill()
    for pid in processes_of(running.folder / "builds"):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    running.kill_watchers()
    running.restart()
    assert running.wait(event)["status"] == "3"
    first, second = attempts(running, event)
    assert (first["id"], first["status"], first["reason"]) == (run, "failed", LOST_HERE)
    assert second["status"] == "succeeded"
    assert running.output(run).endswith(b"\n")
    assert running.output_status(run)["verdict"] == "unproven"
    assert running.output_status(second["id"])["verdict"] == "verified"


@pytest.mark.parametrize("seed", seeds(2))
def test_watchers_killed_at_random_lose_no_byte_of_a_loud_build_and_run_it_once(running: Portal, server, seed: int):
    chance = random.Random(seed)
    running.start_watcher()
    event, run = begun(running, server.url("loud.git"))
    for _ in range(4):
        time.sleep(chance.uniform(0.1, 2.0))
        victim = chance.choice(running.watchers)
        victim.kill()
        victim.wait()
        running.watchers.remove(victim)
        running.start_watcher()
    assert running.wait(event)["status"] == "3"
    output, status = running.output(run), running.output_status(run)
    printed = b"".join(b"%d\n" % number for number in range(10000, 410000))
    start = output.index(b"10000\n")
    assert output[start:] == printed[: len(output) - start]
    assert output.count(b"ci-portal: fetching") == 1
    assert len(output) == 1_000_000
    assert status["verdict"] == "gap"
    detail = status["verdict_detail"]
    assert detail.startswith("cut at byte 1000000: "), detail
    assert detail.endswith(" more bytes were printed and not stored"), detail
    cut = int(detail.split()[4])
    assert cut > len(printed) - 1_000_000
    assert len(attempts(running, event)) == 1


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_build_goes_on_when_make_run_is_ended_and_the_next_takes_it_over(dev: Dev, how: signal.Signals):  # noqa: F811
    process, asked = dev.run()
    answer = asked.post("/check/", {"repo": "sample"})
    event, run = answer.json["event"]["id"], answer.json["job"]["id"]
    until(lambda: list(dev.folder.glob("builds/*/build.json")))
    process.send_signal(how)
    process.wait(20)
    _, asked = dev.run()
    assert asked.wait(event)["status"] == "3"
    assert asked.output_status(run)["verdict"] == "verified"
    until(lambda: not processes_of(dev.folder / "builds"))
