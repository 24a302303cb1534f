"""Local builds on disks that fill up, for real: a small file system of its own holds the folder of builds."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runners.backends.base import Unreachable
from runners.backends.local import Limits, LocalBackend
from runners.backends.local_build import read_json
from runners.build import BuildSecrets, BuildSpec
from tests.local.conftest import TOKEN, USER, Project, processes_of
from tests.support.waiting import until

pytestmark = pytest.mark.needs_buildah

LOGIN = BuildSecrets(git_username=USER, git_password=TOKEN)
MIB = 1 << 20
FULL = "The build was ended because the disk that builds need was full"
SLEEPING = 'RUN ["busybox", "sh", "-c", "echo asleep; while ! test -e /go; do sleep 0.1; done; seq 1 100000"]'
WRITING = 'RUN ["busybox", "sh", "-c", "echo writing; while dd if=/dev/zero bs=1M count=1 >> /big; do sleep 0.02; done; sleep 600"]'
#: Room for a build on busybox (2 MiB, three times with vfs) and then some.
SMALL = 48 * MIB


@pytest.fixture
def disk(project: Project, tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Makes a file system of so many bytes and has the project build on it, within limits; "" where it may not."""
    place = tmp_path / "disk"
    place.mkdir()

    def make(size: int = SMALL, **limits: int) -> Path:
        mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
        if subprocess.run(mount, check=False, capture_output=True).returncode:
            pytest.skip("no file system can be mounted here")
        allowed = Limits(**({"disk_bytes": 0, "disk_free_bytes": 0, "output_bytes": 0} | limits))
        project.backend = LocalBackend(place / "builds", tmp_path / "ca", layouts=place / "images", limits=allowed)
        return place

    yield make
    for spec in project.specs:
        project.backend.delete(spec)
    assert not processes_of(place)
    subprocess.run(["umount", str(place)], check=False)


def fill(place: Path, leave: int = 0) -> Path:
    """Have someone else write the disk full but for so many bytes."""
    other = place / "other"
    with other.open("wb", buffering=0) as file:
        try:
            while (free := os.statvfs(place)).f_bavail * free.f_frsize > leave:
                file.write(bytes(min(MIB, max(4096, free.f_bavail * free.f_frsize - leave))))
        except OSError:
            pass
    return other


def begun(project: Project, spec: BuildSpec, word: bytes) -> None:
    project.backend.launch(spec, LOGIN)
    log = project.folder(spec) / "build.log"
    until(lambda: log.exists() and b"\n" + word in log.read_bytes())


def inside(project: Project, spec: BuildSpec) -> Path:
    """The root of the file system that the Dockerfile's shell sees."""
    for pid in processes_of(project.folder(spec)):
        with contextlib.suppress(FileNotFoundError):
            if os.readlink(f"/proc/{pid}/root") != "/" and b"\0-c\0" in Path(f"/proc/{pid}/cmdline").read_bytes():
                return Path(f"/proc/{pid}/root")
    raise AssertionError("no shell")


def let_go(project: Project, spec: BuildSpec) -> None:
    os.mknod(inside(project, spec) / "go")


def is_whole_or_cut(project: Project, spec: BuildSpec) -> bool:
    """Whether every step that ended tells what of its output is there, and that is there."""
    steps = [step for step in project.backend.state(spec).containers if step.started_at]
    return all(step.report["bytes"] == len(project.output(spec, step.name)) for step in steps)


def test_a_disk_that_is_full_in_the_clone_is_named(project: Project, disk):
    disk(16 * MIB)
    state = project.build(project.spec(project.commit({"Dockerfile": "FROM scratch\n", "big": os.urandom(20 * MIB)})), LOGIN)
    assert "disk" in state.problem
    assert "full" in state.problem
    assert state.containers[1].started_at is None
    assert is_whole_or_cut(project, project.specs[-1])


def test_a_disk_that_the_build_fills_ends_it(project: Project, disk):
    disk()
    spec = project.spec(project.shell('RUN ["busybox", "dd", "if=/dev/zero", "of=/big", "bs=1M", "count=100"]'))
    state = project.build(spec, LOGIN)
    assert state.problem.startswith((FULL, "A step of the Dockerfile failed: RUN busybox dd"))
    assert b"No space left on device" in project.output(spec, "build")
    assert is_whole_or_cut(project, spec)


def test_a_disk_that_is_full_when_the_push_begins_is_named(project: Project, disk):
    place = disk()
    spec = project.spec(project.shell(SLEEPING), registry="127.0.0.1:1", insecure_registry=True)
    begun(project, spec, b"asleep")
    let_go(project, spec)
    until(lambda: (project.folder(spec) / "push.log").exists())
    fill(place)
    state = project.ended(spec)
    assert state.problem.startswith((FULL, "The push failed"))
    assert is_whole_or_cut(project, spec)


def test_output_that_fills_the_disk_is_cut_where_it_was_full_and_ends_the_build(project: Project, disk):
    disk()
    spec = project.spec(project.shell('RUN ["busybox", "yes", "a line of a build that does not stop talking"]'))
    state = project.build(spec, LOGIN)
    assert state.problem.startswith(FULL)
    report = state.containers[1].report
    assert report["cut"] > 0
    assert report["bytes"] == len(project.output(spec, "build")) > MIB
    said = subprocess.run(["cksum"], input=project.output(spec, "build"), capture_output=True, check=True).stdout.split()
    assert report["cksum"] == int(said[0])


def test_the_end_of_a_build_is_told_on_a_disk_that_others_have_filled(project: Project, disk):
    place = disk()
    spec = project.spec(project.shell(SLEEPING))
    begun(project, spec, b"asleep")
    root = inside(project, spec)
    os.mknod(root / "go-soon")
    fill(place)
    os.rename(root / "go-soon", root / "go")
    state = project.ended(spec)
    assert state.problem.startswith(FULL)
    assert state.disrupted
    assert read_json(project.folder(spec) / "result.json")["outcome"] == "disk_full"
    assert is_whole_or_cut(project, spec)


def test_too_little_room_on_the_disk_ends_the_build_and_is_no_fault_of_it(project: Project, disk):
    disk(SMALL, disk_free_bytes=16 * MIB)
    spec = project.spec(project.shell(WRITING))
    state = project.build(spec, LOGIN)
    assert "less than build.disk_free_bytes (16 MiB): make room there" in state.problem
    assert state.disrupted
    until(lambda: not processes_of(project.folder(spec)), 5)


def test_a_build_that_takes_more_than_its_share_is_ended(project: Project, disk):
    disk(400 * MIB, disk_bytes=40 * MIB)
    spec = project.spec(project.shell(WRITING))
    state = project.build(spec, LOGIN)
    assert state.problem == (
        "The build was ended because it took more than 40 MiB of disk: make it need less, or raise build.disk_bytes."
    )
    assert not state.disrupted
    until(lambda: not processes_of(project.folder(spec)), 5)


def test_a_build_within_its_share_is_left_alone(project: Project, disk):
    disk(400 * MIB, disk_bytes=60 * MIB, disk_free_bytes=16 * MIB)
    spec = project.spec(project.shell('RUN ["busybox", "sh", "-c", "dd if=/dev/zero of=/big bs=1M count=2; sleep 2"]'))
    assert project.build(spec, LOGIN).problem == ""


def test_output_beyond_the_limit_is_counted_and_not_written(project: Project, disk):
    disk(400 * MIB, output_bytes=100_000)
    spec = project.spec(project.shell('RUN ["busybox", "seq", "1", "600000"]'))
    state = project.build(spec, LOGIN)
    assert (state.problem, [step.exit_code for step in state.containers]) == ("", [0, 0])
    sizes = [(project.folder(spec) / f"{name}.log").stat().st_size for name in ("clone", "build")]
    assert sum(sizes) == 100_000
    report = state.containers[1].report
    assert report["bytes"] == sizes[1] == len(project.output(spec, "build"))
    assert report["bytes"] + report["cut"] > sum(len(str(number)) + 1 for number in range(1, 600001))


def test_a_build_that_runs_is_adopted_on_a_full_disk_and_no_other_is_started(project: Project, disk):
    place = disk(SMALL, disk_free_bytes=2 * MIB)
    spec = project.spec(project.shell(SLEEPING))
    begun(project, spec, b"asleep")
    other = fill(place, leave=3 * MIB)
    more = LocalBackend(project.backend.work, project.backend.certificates, limits=Limits(disk_free_bytes=8 * MIB))
    more.launch(spec, LOGIN)
    late = project.spec(spec.commit)
    with pytest.raises(Unreachable, match=r"less than build.disk_free_bytes \(8 MiB\): the build waits until there is room"):
        more.launch(late, LOGIN)
    assert not project.folder(late).exists()
    other.unlink()
    let_go(project, spec)
    assert project.ended(spec).problem == ""


def test_a_folder_of_builds_that_can_not_be_written_makes_builds_wait(project: Project, disk):
    place = disk()
    subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
    with pytest.raises(Unreachable, match="can't be written .*Read-only file system.* the build waits until it can"):
        project.backend.launch(project.spec("0" * 40), LOGIN)
    subprocess.run(["mount", "-o", "remount,rw", str(place)], check=True)
    shutil.rmtree(place / "builds", ignore_errors=True)
