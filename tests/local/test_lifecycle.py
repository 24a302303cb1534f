"""A build outlives its watcher, ends when it must, and leaves neither processes nor secrets."""

import os
import resource
import signal
import threading
import time
from pathlib import Path

import pytest

from runners.backends.base import Refused, StreamBroken
from runners.backends.local import LocalBackend
from runners.backends.local_build import read_json
from runners.build import BuildSecrets
from tests.local.conftest import TOKEN, USER, Project, processes_of
from tests.support.portal import files_below
from tests.support.waiting import until

pytestmark = pytest.mark.needs_buildah

LOGIN = BuildSecrets(git_username=USER, git_password=TOKEN)
COUNTING = 'RUN ["busybox", "sh", "-c", "for i in $(seq 1 30); do echo line $i; sleep 0.1; done"]'
SLEEPING = 'RUN ["busybox", "sh", "-c", "setsid sleep 600 & echo asleep; sleep 600"]'


def asleep(project: Project, spec) -> None:
    """Wait until the build sleeps in its RUN step."""
    log = project.folder(spec) / "build.log"
    until(lambda: log.exists() and b"\nasleep" in log.read_bytes())


def supervisor(project: Project, spec) -> int:
    return read_json(project.folder(spec) / "supervisor.json")["pid"]


def test_a_build_past_its_time_limit_is_ended_with_all_its_processes(project: Project):
    spec = project.spec(project.shell(SLEEPING), timeout_seconds=2)
    state = project.build(spec, LOGIN)
    assert state.problem == (
        "The build was ended in its step 'build' after its time limit of 2 s: make it faster, or raise build.timeout_seconds."
    )
    until(lambda: not processes_of(project.folder(spec)))
    assert state.containers[1].report["bytes"] == len(project.output(spec, "build"))


def test_a_daemon_that_a_run_step_leaves_behind_ends_with_the_step(project: Project):
    spec = project.spec(project.shell('RUN ["busybox", "sh", "-c", "setsid sleep 600 & true"]'))
    state = project.build(spec, LOGIN)
    assert state.problem == ""
    until(lambda: not processes_of(project.folder(spec)))


def test_deleting_ends_a_running_build_and_removes_its_folder(project: Project):
    spec = project.spec(project.shell(SLEEPING))
    project.backend.launch(spec, LOGIN)
    asleep(project, spec)
    started = time.monotonic()
    project.backend.delete(spec)
    assert time.monotonic() - started < 8
    assert not project.folder(spec).exists()
    assert not processes_of(project.folder(spec))
    assert not project.backend.state(spec).exists


def test_deleting_twice_is_no_error(project: Project):
    spec = project.spec(project.commit({"Dockerfile": "FROM scratch\n"}))
    project.backend.delete(spec)
    project.backend.launch(spec, LOGIN)
    project.backend.delete(spec)
    project.backend.delete(spec)


def test_a_killed_supervisor_ends_the_run_and_takes_every_process_along(project: Project):
    spec = project.spec(project.shell(SLEEPING))
    project.backend.launch(spec, LOGIN)
    asleep(project, spec)
    os.kill(supervisor(project, spec), signal.SIGKILL)
    state = project.ended(spec)
    assert "ended without a result" in state.problem
    assert (state.disrupted, state.containers[1].exit_code) == (True, None)
    assert not processes_of(project.folder(spec))


def test_a_killed_supervisor_is_noticed_by_those_who_wait_for_news_and_output(project: Project):
    spec = project.spec(project.shell(SLEEPING))
    project.backend.launch(spec, LOGIN)
    asleep(project, spec)
    while project.backend.changes(0.6) or project.backend.changes(0.6) is None:
        pass
    os.kill(supervisor(project, spec), signal.SIGKILL)
    assert project.backend.changes(5) == {spec.run_uid}
    assert project.output(spec, "build").endswith(b"\nasleep\n")


def test_another_watcher_adopts_the_build_and_reads_on_to_the_last_byte(project: Project):
    spec = project.spec(project.shell(COUNTING))
    project.backend.launch(spec, LOGIN)
    first, cursor = b"", ""
    for piece in project.backend.stream(spec, "build", ""):
        first, cursor = first + piece.data, piece.cursor
        if b"line 5\n" in first:
            break
    project.backend.close()
    other = LocalBackend(project.backend.work, project.backend.certificates, layouts=project.backend.layouts)
    other.launch(spec, LOGIN)
    rest = b"".join(piece.data for piece in other.stream(spec, "build", cursor))
    state = other.state(spec)
    assert first + rest == (project.folder(spec) / "build.log").read_bytes()
    assert b"".join(b"line %d\n" % number for number in range(1, 31)) in first + rest
    assert (state.finished or state.containers[1].exit_code == 0, state.problem) == (True, "")


def test_the_build_outlives_the_process_that_launched_it(project: Project):
    spec = project.spec(project.shell(COUNTING))
    watcher = os.fork()
    if watcher == 0:
        project.backend.launch(spec, LOGIN)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(watcher, 0)
    assert project.ended(spec).problem == ""


def test_launched_by_many_at_once_a_build_runs_once(project: Project):
    spec = project.spec(project.shell(COUNTING))
    backends = [LocalBackend(project.backend.work, project.backend.certificates, layouts=project.backend.layouts) for _ in range(6)]
    threads = [threading.Thread(target=backend.launch, args=(spec, LOGIN)) for backend in backends]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert project.ended(spec).problem == ""
    assert project.output(spec, "clone").count(b"ci-portal: fetching") == 1
    assert project.output(spec, "build").count(b"line 1\n") == 1


def test_a_finished_build_is_not_launched_again(project: Project):
    spec = project.spec(project.commit({"Dockerfile": "FROM scratch\nCOPY Dockerfile /\n"}))
    before = project.build(spec, LOGIN)
    project.backend.launch(spec, LOGIN)
    assert project.backend.state(spec) == before


def test_a_line_is_streamed_while_the_build_runs(project: Project):
    spec = project.spec(project.shell(SLEEPING))
    project.backend.launch(spec, LOGIN)
    read = b""
    for piece in project.backend.stream(spec, "build", ""):
        read += piece.data
        if b"\nasleep\n" in read:
            break
    assert not project.backend.state(spec).finished


def test_a_stream_of_a_deleted_run_breaks_instead_of_ending(project: Project):
    spec = project.spec(project.shell(SLEEPING))
    project.backend.launch(spec, LOGIN)
    asleep(project, spec)
    pieces = project.backend.stream(spec, "build", "")
    next(pieces)
    project.backend.delete(spec)
    with pytest.raises(StreamBroken):
        list(pieces)


def test_nothing_of_a_secret_is_on_disk_after_a_build_nor_seen_in_a_process_during_it(project: Project):
    spec = project.spec(project.shell(COUNTING), registry="127.0.0.1:1", insecure_registry=True)
    secrets = BuildSecrets(USER, TOKEN, registry_username="pusher", registry_password="pushword-0123456789")
    project.backend.launch(spec, secrets)
    seen: dict[int, tuple[bytes, bytes]] = {}
    files_during_build: list[Path] = []
    while not project.backend.state(spec).finished:
        seen |= processes_of(project.folder(spec))
        state = project.backend.state(spec)
        if state.containers[1].started_at and not state.containers[1].finished_at:
            files_during_build += holders(project.folder(spec), secrets)
    assert any(b"buildah" in command for command, _ in seen.values())
    assert [name for texts in seen.values() for name in secrets.values() if name != USER and name.encode() in b"".join(texts)] == []
    assert files_during_build == []
    until(lambda: not (project.folder(spec) / "storage").exists())
    assert holders(project.root, secrets) == []


def holders(root: Path, secrets: BuildSecrets) -> list[Path]:
    """The files that hold a password."""
    found = []
    for path in files_below(root):
        try:
            data = path.read_bytes() if not path.is_symlink() else b""
        except FileNotFoundError:
            continue
        if any(secret and secret.encode() in data for secret in (secrets.git_password, secrets.registry_password)):
            found.append(path)
    return found


def test_a_killed_supervisors_secrets_are_removed(project: Project):
    spec = project.spec(project.shell(SLEEPING))
    project.backend.launch(spec, LOGIN)
    secrets = project.folder(spec) / "secrets"
    until(lambda: secrets.exists() and list(secrets.iterdir()))
    os.kill(supervisor(project, spec), signal.SIGKILL)
    project.ended(spec)
    assert holders(project.root, LOGIN) == []


def test_an_unknown_certificate_is_refused(project: Project):
    for name in ("missing", "../ca/git"):
        with pytest.raises(Refused, match="there is no certificate named"):
            project.backend.launch(project.spec("0" * 40, ca_secret=name), LOGIN)


def test_a_supervisor_that_is_told_to_end_says_that_the_build_was_stopped(project: Project):
    spec = project.spec(project.shell(SLEEPING))
    project.backend.launch(spec, LOGIN)
    asleep(project, spec)
    os.kill(supervisor(project, spec), signal.SIGTERM)
    state = project.ended(spec)
    assert "ended from outside" in state.problem
    assert state.disrupted
    until(lambda: not processes_of(project.folder(spec)))


def test_a_build_that_can_no_longer_be_recorded_is_ended_and_says_why(project: Project):
    spec = project.spec(project.shell('RUN ["busybox", "sh", "-c", "echo asleep; sleep 2; seq 1 9; sleep 600"]'))
    project.backend.launch(spec, LOGIN)
    asleep(project, spec)
    full = (project.folder(spec) / "build.log").stat().st_size + 2
    resource.prlimit(supervisor(project, spec), resource.RLIMIT_FSIZE, (full, full))
    state = project.ended(spec)
    assert "could not go on on this machine ([Errno 27] File too large)" in state.problem
    assert state.containers[1].finished_at
    assert (state.containers[1].exit_code, state.disrupted) == (None, False)
