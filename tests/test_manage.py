"""`manage.py` in a fresh checkout, where nothing is configured: it works, or says in one line what to do."""

import os
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.support.portal import ROOT
from tests.support.ports import free_port

LEFT_OUT = shutil.ignore_patterns(".*", "var", "tests", "docs", "bench", "__pycache__")


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fresh") / "checkout"
    shutil.copytree(ROOT, folder, ignore=LEFT_OUT)
    (folder / "conf" / "configure_server.json").write_text("{}")
    return folder


@pytest.fixture
def checkout(copied: Path) -> Path:
    """Without what an earlier test made there: keys above all."""
    shutil.rmtree(copied / "var", ignore_errors=True)
    return copied


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("CI_PORTAL_", "DJANGO_"))}


def manage(checkout: Path, *arguments: str, python: tuple[str, ...] = (sys.executable,)) -> subprocess.CompletedProcess[str]:
    command = [*python, "manage.py", *arguments]
    return subprocess.run(command, cwd=checkout, env=environment(), capture_output=True, text=True, timeout=60)


def test_make_key_needs_no_keys(checkout):
    made = manage(checkout, "make_key")
    assert made.returncode == 0, made.stderr
    assert re.match(r"CI_PORTAL_SECRETS__KEYS=\S{44}\nCI_PORTAL_SECRETS__DJANGO_KEY='.{50}'\n", made.stdout)
    assert not (checkout / "var" / "keys.json").exists()


@pytest.mark.parametrize("command", ["migrate", "watch", "config"])
def test_without_keys_it_says_in_one_line_what_to_do(checkout, command):
    refused = manage(checkout, command)
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert "`manage.py make_key` prints new ones, and `make run` makes them for development" in refused.stderr


def test_without_its_packages_it_says_how_to_get_them(checkout):
    bare = manage(checkout, "runserver", python=(sys.executable, "-S", "-E"))
    assert bare.returncode == 1
    assert re.fullmatch(r"The package django is not installed for .*: `make run` installs .*\n", bare.stderr)


def test_runserver_serves_at_once_and_config_shows_with_what(checkout):
    port = free_port()
    command = [sys.executable, "manage.py", "runserver", "--noreload", str(port)]
    with (checkout / "log").open("w+") as log:
        server = subprocess.Popen(command, cwd=checkout, env=environment(), stdout=log, stderr=log)
        try:
            assert answer(f"http://127.0.0.1:{port}/repo/", server).startswith(b'{"count":0')
        finally:
            server.terminate()
            server.wait(10)
        log.seek(0)
        assert "Builds wait for a watcher" in log.read()
    assert '"development": true' in manage(checkout, "config").stdout


def answer(url: str, server: subprocess.Popen[bytes]) -> bytes:
    for _ in range(300):
        assert server.poll() is None
        try:
            with urllib.request.urlopen(url, timeout=10) as response:
                return response.read()
        except urllib.error.HTTPError:
            raise
        except OSError:
            time.sleep(0.1)
    raise AssertionError("no answer")
