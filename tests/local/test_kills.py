"""Local builds whose processes are killed, one by one and all at once: a true end, soon, and nothing that goes on running."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict

import pytest

from runners.backends import local_reasons
from runners.backends.base import RunState, Unreachable
from runners.backends.local import LocalBackend
from runners.backends.local_build import read_json, write_json
from runners.backends.local_process import children, is_held, place
from runners.build import BuildSecrets, BuildSpec
from tests.local.conftest import TOKEN, USER, Project, processes_of, seeds
from tests.support.portal import ROOT
from tests.support.waiting import until

pytestmark = pytest.mark.needs_buildah

LOGIN = BuildSecrets(git_username=USER, git_password=TOKEN)
SLEEPING = 'RUN ["busybox", "sh", "-c", "setsid sleep 600 & echo asleep; sleep 600"]'
COUNTING = 'RUN ["busybox", "sh", "-c", "for i in $(seq 1 20); do echo line $i; sleep 0.05; done"]'


@pytest.fixture
def asleep(project: Project) -> BuildSpec:
    """A build in the middle of its RUN step, with a daemon of its own."""
    spec = project.spec(project.shell(SLEEPING))
    project.backend.launch(spec, LOGIN)
    log = project.folder(spec) / "build.log"
    until(lambda: log.exists() and b"\nasleep" in log.read_bytes())
    return spec


def line_of(project: Project, spec: BuildSpec) -> dict[str, int]:
    """The processes of a build, from its supervisor down to what the Dockerfile runs."""
    found = {"supervisor": read_json(project.folder(spec) / "supervisor.json")["pid"]}
    for above, name in (("supervisor", "guard"), ("guard", "step"), ("step", "buildah")):
        (found[name],) = children(found[above])
    commands = {pid: command for pid, (command, _) in processes_of(project.folder(spec)).items()}
    (runner,) = [pid for pid, command in commands.items() if command.startswith(b"buildah-chroot-exec\0")]
    (found["shell"],) = children(runner)
    return found


def nothing_runs(project: Project, spec: BuildSpec, seconds: float = 5) -> None:
    """Neither a process nor a lock is left: of one that is dying the command line goes first, its open files some time later."""
    folder = project.folder(spec)
    until(lambda: not processes_of(folder) and not is_held(folder / "lock"), seconds)


@pytest.mark.parametrize("seed", seeds(4))  # a process whose parent was just dying once escaped, in one of ten
def test_a_killed_supervisor_takes_all_along_at_once_with_no_watcher_there(project: Project, asleep: BuildSpec, seed: int):
    os.kill(line_of(project, asleep)["supervisor"], signal.SIGKILL)
    nothing_runs(project, asleep, 3)
    state = project.backend.state(asleep)
    assert (state.problem, state.finished, state.disrupted) == (local_reasons.LOST_HERE, True, True)


@pytest.mark.parametrize("victim", ["guard", "step", "buildah"])
def test_a_killed_process_of_the_portals_fails_the_build_and_takes_all_along(
    project: Project,
    asleep: BuildSpec,
    victim: str,
):
    os.kill(line_of(project, asleep)[victim], signal.SIGKILL)
    state = project.ended(asleep, 5)
    assert (state.problem, state.containers[1].exit_code) == (local_reasons.KILLED, 137)
    assert state.containers[1].report["bytes"] == len(project.output(asleep, "build"))
    nothing_runs(project, asleep)


def test_a_killed_process_of_the_dockerfile_fails_its_step(project: Project, asleep: BuildSpec):
    os.kill(line_of(project, asleep)["shell"], signal.SIGKILL)
    state = project.ended(asleep, 5)
    assert state.problem.startswith("A step of the Dockerfile failed: RUN busybox sh")
    nothing_runs(project, asleep)


def test_everything_of_a_build_killed_at_once_is_a_lost_build(project: Project, asleep: BuildSpec):
    for pid in processes_of(project.folder(asleep)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    state = project.ended(asleep, 5)
    assert state.problem == local_reasons.LOST_HERE
    assert state.containers[1].finished_at
    assert project.output(asleep, "build").endswith(b"asleep\n")
    assert not processes_of(project.folder(asleep))


def test_what_a_dockerfile_started_is_found_when_all_above_it_was_killed_at_once(project: Project, asleep: BuildSpec):
    line = line_of(project, asleep)
    for name in ("guard", "supervisor", "step", "buildah"):
        os.kill(line[name], signal.SIGSTOP)
    for name in ("guard", "supervisor", "step", "buildah"):
        os.kill(line[name], signal.SIGKILL)
    assert project.ended(asleep, 5).problem == local_reasons.LOST_HERE
    assert not processes_of(project.folder(asleep))


def test_a_supervisor_that_is_stopped_is_ended_by_force(project: Project, asleep: BuildSpec):
    os.kill(line_of(project, asleep)["supervisor"], signal.SIGSTOP)
    project.backend.delete(asleep)
    assert not project.folder(asleep).exists()
    nothing_runs(project, asleep)


def test_a_guard_that_is_stopped_while_its_supervisor_is_killed_is_ended_by_force(project: Project, asleep: BuildSpec):
    line = line_of(project, asleep)
    os.kill(line["guard"], signal.SIGSTOP)
    os.kill(line["supervisor"], signal.SIGKILL)
    project.backend.delete(asleep)
    assert not project.folder(asleep).exists()
    nothing_runs(project, asleep)


def test_a_build_is_not_lost_before_all_that_it_started_has_ended(project: Project, asleep: BuildSpec):
    line = line_of(project, asleep)
    os.kill(line["guard"], signal.SIGSTOP)
    os.kill(line["supervisor"], signal.SIGKILL)
    assert not project.backend.state(asleep).finished
    os.kill(line["guard"], signal.SIGCONT)
    assert project.ended(asleep, 5).problem == local_reasons.LOST_HERE
    assert not processes_of(project.folder(asleep))


@pytest.mark.parametrize("seed", seeds(4))
def test_a_supervisor_killed_at_any_moment_leaves_a_true_end_and_no_process(project: Project, seed: int):
    spec = project.spec(project.shell(COUNTING))
    project.backend.launch(spec, LOGIN)
    time.sleep(random.Random(seed).uniform(0, 3))
    pid = read_json(project.folder(spec) / "supervisor.json")["pid"]
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    nothing_runs(project, spec, 3)
    state = project.ended(spec, 3)
    done = all(step.exit_code == 0 for step in state.containers)
    assert state.problem in ("" if done else local_reasons.LOST_HERE, local_reasons.LOST_HERE)
    for step in state.containers:
        if step.report:
            assert step.report["bytes"] == len(project.output(spec, step.name))
    project.backend.settled(spec)
    assert not project.folder(spec).exists()


@pytest.mark.parametrize("seed", seeds(4))
def test_a_launch_killed_at_any_moment_is_repeated_and_runs_once(project: Project, seed: int):
    spec = project.spec(project.shell(COUNTING))
    launching = os.fork()
    if launching == 0:
        project.backend.launch(spec, LOGIN)
        os._exit(0)
    time.sleep(random.Random(seed).uniform(0, 0.3))
    os.kill(launching, signal.SIGKILL)
    os.waitpid(launching, 0)
    until(lambda: launched(project.backend, spec))
    assert project.ended(spec).problem == ""
    assert project.output(spec, "clone").count(b"ci-portal: fetching") == 1
    assert project.output(spec, "build").count(b"line 1\n") == 1


def launched(backend: LocalBackend, spec: BuildSpec) -> bool:
    try:
        backend.launch(spec, LOGIN)
    except Unreachable:  # what the killed launch started holds the lock until it finds itself without secrets
        return False
    return True


@pytest.mark.parametrize("seed", seeds(4))
def test_a_deletion_killed_at_any_moment_is_repeated(project: Project, asleep: BuildSpec, seed: int):
    deleting = os.fork()
    if deleting == 0:
        project.backend.delete(asleep)
        os._exit(0)
    time.sleep(random.Random(seed).uniform(0, 0.4))
    os.kill(deleting, signal.SIGKILL)
    os.waitpid(deleting, 0)
    state = project.backend.state(asleep)
    assert not any(step.report.get("digest") for step in state.containers)
    project.backend.delete(asleep)
    project.backend.settled(asleep)
    assert not project.folder(asleep).exists()
    assert not processes_of(project.folder(asleep))


# The folder


@pytest.mark.parametrize("what", ["the folder", "what is in it"])
def test_a_build_whose_folder_is_removed_ends_within_seconds(project: Project, asleep: BuildSpec, what: str):
    folder = project.folder(asleep)
    for path in [folder] if what == "the folder" else list(folder.iterdir()):
        subprocess.run(["rm", "-rf", str(path)], check=False)
    nothing_runs(project, asleep, 5)
    state = project.backend.state(asleep)
    assert (state.exists, state.problem) == (False, local_reasons.GONE)
    project.backend.delete(asleep)
    assert not folder.exists()


@pytest.fixture
def closed(project: Project, asleep: BuildSpec) -> Iterator[BuildSpec]:
    """A running build in whose folder nothing can be made any more, by root neither."""
    folder = project.folder(asleep)
    if subprocess.run(["chattr", "+i", str(folder)], check=False, capture_output=True).returncode:
        pytest.skip("chattr +i does not work on this file system")
    yield asleep
    subprocess.run(["chattr", "-i", str(folder)], check=True)


def test_a_build_whose_folder_can_not_be_written_ends_without_a_result(project: Project, closed: BuildSpec):
    os.kill(line_of(project, closed)["shell"], signal.SIGKILL)
    state = project.ended(closed, 10)
    assert state.problem == local_reasons.LOST_HERE
    nothing_runs(project, closed)
    with pytest.raises(Unreachable, match="can't be removed"):
        project.backend.delete(closed)


@pytest.mark.parametrize("name", ["supervisor.json", "build.json", "clone.json", "plan.json"])
def test_a_file_that_a_loss_of_power_left_empty_is_as_good_as_none(project: Project, asleep: BuildSpec, name: str):
    os.kill(line_of(project, asleep)["supervisor"], signal.SIGKILL)
    nothing_runs(project, asleep)
    (project.folder(asleep) / name).write_bytes(b"")
    project.backend.launch(asleep, LOGIN)
    state = project.ended(asleep, 5)
    assert state.problem in (local_reasons.LOST, local_reasons.LOST_HERE)
    project.backend.settled(asleep)


def test_a_result_of_which_only_a_part_was_written_is_none(project: Project):
    spec = project.spec(project.shell(COUNTING))
    project.build(spec, LOGIN)
    until(lambda: not processes_of(project.folder(spec)))
    (project.folder(spec) / "result.json").write_bytes(b'{"finished_at": "2026-')
    state = project.backend.state(spec)
    assert (state.finished, state.problem) == (True, local_reasons.LOST_HERE)


def test_a_build_of_before_the_machine_restarted_is_told_from_one_that_was_killed(project: Project, asleep: BuildSpec):
    os.kill(line_of(project, asleep)["supervisor"], signal.SIGKILL)
    nothing_runs(project, asleep)
    told = project.folder(asleep) / "supervisor.json"
    boot, rest = place().split(" ", 1)
    write_json(told, read_json(told) | {"place": f"{boot[::-1]} {rest}"})
    assert project.backend.state(asleep).problem == local_reasons.RESTARTED


# Containers: the watcher in a PID namespace of its own

_LAUNCH_IN_CONTAINER = """
import json, sys, time
from pathlib import Path
from runners.backends.local import LocalBackend
from runners.build import BuildSecrets, BuildSpec
work, certificates, layouts, spec, secrets = json.load(sys.stdin)
backend = LocalBackend(Path(work), Path(certificates), layouts=Path(layouts))
backend.launch(BuildSpec(**spec), BuildSecrets(**secrets))
time.sleep(600)
"""


@pytest.fixture
def contained(project: Project) -> Iterator[tuple[BuildSpec, subprocess.Popen]]:
    """A build in its RUN step that a watcher in another PID namespace has launched, and that namespace's first process."""
    if not shutil.which("unshare") or subprocess.run(["unshare", "--pid", "--fork", "true"], check=False).returncode:
        pytest.skip("no PID namespace can be made here")
    spec = project.spec(project.shell(SLEEPING))
    command = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", sys.executable, "-c", _LAUNCH_IN_CONTAINER]
    container = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert container.stdin
    backend = project.backend
    inside = [str(backend.work), str(backend.certificates), str(backend.layouts), asdict(spec), asdict(LOGIN)]
    container.stdin.write(json.dumps(inside).encode())
    container.stdin.close()
    log = project.folder(spec) / "build.log"
    until(lambda: log.exists() and b"\nasleep" in log.read_bytes())
    yield spec, container
    container.kill()
    container.wait()


def test_a_build_in_a_container_that_was_ended_is_lost_with_it(
    project: Project,
    contained: tuple[BuildSpec, subprocess.Popen],
):
    spec, container = contained
    container.kill()
    container.wait()
    state: RunState = project.ended(spec, 5)
    assert state.problem == local_reasons.CONTAINER_ENDED
    assert not processes_of(project.folder(spec))


def test_a_build_in_a_container_beside_this_one_is_followed_and_ended_from_here(
    project: Project,
    contained: tuple[BuildSpec, subprocess.Popen],
):
    spec, container = contained
    assert not project.backend.state(spec).finished
    project.backend.delete(spec)
    assert not project.folder(spec).exists()
    nothing_runs(project, spec)
    assert container.poll() is None
