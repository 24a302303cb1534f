"""What `make run` installs, and whom it asks first. Package managers and sudo are stand-ins that note how they were called."""

import os
import pty
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.portal import ROOT

MANAGERS = {
    "apt-get": "apt-get install -y --no-install-recommends buildah",
    "dnf": "dnf install -y buildah",
    "zypper": "zypper --non-interactive install buildah",
    "apk": "apk add buildah",
    "pacman": "pacman -S --noconfirm --needed buildah",
}


class Machine:
    """A PATH with these commands alone."""

    def __init__(self, folder: Path) -> None:
        self.bin, self.calls = folder / "bin", folder / "calls"
        self.bin.mkdir()
        for name in ("sh", "dirname", "uname", "rm", "git"):
            found = shutil.which(name)
            assert found
            (self.bin / name).symlink_to(found)
        self.command("id", "echo 0")

    def command(self, name: str, does: str = "") -> None:
        path = self.bin / name
        path.write_text(f'#!/bin/sh\n[ {name} = id ] || echo "{name} $*" >> {self.calls}\n{does}\n')
        path.chmod(0o755)

    def run(self, script: str, *arguments: str, answer: str = "") -> subprocess.CompletedProcess:
        """Run a script of tools/; with an answer, at a terminal that gives it."""
        command, env = [str(ROOT / "tools" / script), *arguments], {"PATH": str(self.bin)}
        if not answer:
            return subprocess.run(command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
        outer, inner = pty.openpty()
        os.write(outer, f"{answer}\n".encode())
        try:
            return subprocess.run(command, env=env, stdin=inner, capture_output=True, text=True, timeout=60)
        finally:
            os.close(inner)
            os.close(outer)

    def called(self) -> list[str]:
        return self.calls.read_text().splitlines() if self.calls.exists() else []


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.mark.parametrize("manager", MANAGERS)
def test_root_gets_buildah_from_the_systems_package_manager_and_is_told(machine: Machine, manager: str):
    machine.command(manager)
    said = machine.run("install-buildah.sh").stderr
    assert machine.called() == [MANAGERS[manager]]
    assert f"running {MANAGERS[manager]}" in said


def test_package_lists_are_fetched_where_there_are_none_yet(machine: Machine):
    machine.command("apt-get", f'[ "$1" = update ] || [ "$(grep -c update {machine.calls})" -gt 0 ]')
    (machine.bin / "grep").symlink_to(shutil.which("grep") or "")
    machine.run("install-buildah.sh")
    assert machine.called() == [MANAGERS["apt-get"], "apt-get update", MANAGERS["apt-get"]]


def test_what_is_there_is_left_alone(machine: Machine):
    machine.command("apt-get")
    machine.command("buildah")
    assert (machine.run("install-buildah.sh").stderr, machine.called()) == ("", [])


@pytest.mark.parametrize(("answer", "calls"), [("y", [f"sudo {MANAGERS['dnf']}"]), ("n", []), ("", [])])
def test_others_are_asked_before_sudo_is_used(machine: Machine, answer: str, calls: list[str]):
    machine.command("dnf")
    machine.command("sudo")
    machine.command("newuidmap")
    machine.command("id", "echo 1000")
    done = machine.run("install-buildah.sh", answer=answer)
    assert (done.returncode, machine.called()) == (0, calls)
    assert ("builds wait until buildah is there" in done.stderr) is not bool(calls)


def test_users_other_than_root_need_newuidmap_too(machine: Machine):
    machine.command("apt-get")
    machine.command("sudo")
    machine.command("buildah")
    machine.command("id", "echo 1000")
    machine.run("install-buildah.sh", answer="yes")
    assert machine.called() == ["sudo apt-get install -y --no-install-recommends uidmap"]


def test_an_unknown_system_is_told_what_to_install(machine: Machine):
    done = machine.run("install-buildah.sh")
    assert done.returncode == 0
    assert "Please install it." in done.stderr


def test_a_machine_without_a_new_enough_python_is_told_so(machine: Machine):
    machine.command("python3", "exit 1")
    tools = machine.bin.parent / "checkout" / "tools"
    shutil.copytree(ROOT / "tools", tools)
    env = {"PATH": str(machine.bin)}
    done = subprocess.run([tools / "make-venv.sh", "requirements.txt"], env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "Python 3.11 or later is needed" in done.stderr


def test_a_python_that_cant_make_virtual_environments_gets_the_package_for_it(machine: Machine):
    machine.command("python3", "case $2 in *ensurepip*) exit 1 ;; *print*) echo 3.12 ;; esac")
    machine.command("apt-get", "exit 1")
    tools = machine.bin.parent / "checkout" / "tools"
    shutil.copytree(ROOT / "tools", tools)
    env = {"PATH": str(machine.bin)}
    done = subprocess.run([tools / "make-venv.sh", "requirements.txt"], env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "apt-get install -y --no-install-recommends python3.12-venv" in machine.called()
