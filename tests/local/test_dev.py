"""`manage.py dev`, which `make run` starts: everything on one machine, for that machine alone."""

import contextlib
import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from ci_portal.config import is_loopback, use_development_defaults
from tests.support.dev import CONFIGURED, Dev, development
from tests.support.waiting import until


def children(pid: int) -> dict[str, int]:
    """The management commands that it runs, with their process ids."""
    found = {}
    for entry in os.listdir("/proc"):
        with contextlib.suppress(OSError, ValueError):
            if int(Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[1]) == pid:
                words = Path(f"/proc/{entry}/cmdline").read_bytes().decode().split("\0")
                found[words[2]] = int(entry)
    return found


@pytest.fixture
def dev(tmp_path: Path) -> Iterator[Dev]:
    with development(tmp_path) as made:
        yield made


def test_it_says_where_it_is_with_the_sample_registered_and_ends_on_ctrl_c(dev: Dev):
    process, asked = dev.run()
    assert f"http://127.0.0.1:{asked.port}/" in dev.said()
    (sample,) = asked.get("/repo/").json["results"]
    assert sample["repo_name"] == "sample"
    running = children(process.pid)
    assert set(running) == {"runserver", "watch"}
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 0
    assert not any(os.path.exists(f"/proc/{pid}") for pid in running.values())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_told_again_and_again_to_stop_it_still_ends_its_children_and_tells_of_no_trouble(dev: Dev, number: int):
    process, _ = dev.run("--no-sample")
    running = children(process.pid)
    end = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < end:
        process.send_signal(number)
        time.sleep(0.02)
    assert process.wait(10) == 0
    assert not any(os.path.exists(f"/proc/{pid}") for pid in running.values())
    assert "Stopped." in dev.said()
    assert "Traceback" not in dev.said()


def test_the_samples_url_stays_and_what_was_deleted_stays_away(dev: Dev):
    process, asked = dev.run()
    (before,) = asked.get("/repo/").json["results"]
    process.terminate()
    assert process.wait(10) == 0
    process, asked = dev.run()
    (after,) = asked.get("/repo/").json["results"]
    assert (after["id"], after["repo"]) == (before["id"], before["repo"])
    assert asked.request("DELETE", "/repo/sample/").status in (200, 204)
    process.terminate()
    assert process.wait(10) == 0
    _, asked = dev.run()
    assert asked.get("/repo/").json["results"] == []


def test_a_sample_whose_port_is_taken_moves_to_another(dev: Dev):
    process, asked = dev.run()
    (before,) = asked.get("/repo/").json["results"]
    process.terminate()
    assert process.wait(10) == 0
    with socket.create_server(("127.0.0.1", int(before["repo"].split(":")[2].split("/")[0]))):
        _, asked = dev.run()
        (after,) = asked.get("/repo/").json["results"]
    assert after["id"] == before["id"]
    assert after["repo"] != before["repo"]


def test_a_child_that_dies_ends_the_other(dev: Dev):
    process, _ = dev.run("--no-sample")
    running = children(process.pid)
    os.kill(running["watch"], signal.SIGKILL)
    assert process.wait(10) == 1
    assert "The watcher ended" in dev.said()
    assert not os.path.exists(f"/proc/{running['runserver']}")


def test_children_die_with_it(dev: Dev):
    process, _ = dev.run("--no-sample")
    running = children(process.pid)
    process.kill()
    until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in running.values()), 10)


def test_it_refuses_an_address_that_others_can_reach(dev: Dev):
    process, _ = dev.start("--address", "0.0.0.0:0")
    assert process.wait(20) == 1
    assert "can be reached from other machines" in dev.said()


def test_it_refuses_a_port_that_is_taken(dev: Dev):
    _, asked = dev.run("--no-sample")
    process, _ = dev.start("--no-sample", port=asked.port)
    assert process.wait(20) == 1
    assert re.search(r"can't be listened on \(Address already in use", dev.said())


def test_the_first_start_makes_an_admin_whose_password_is_in_a_file_of_ones_own(dev: Dev):
    process, asked = dev.run("--no-sample", CI_PORTAL_AUTH__MODE="required")
    (file,) = dev.folder.glob("first-admin-password")
    assert file.stat().st_mode & 0o777 == 0o600
    password = file.read_text().strip()
    assert str(file) in dev.said()
    assert password not in dev.said()
    with requests.Session() as browser:
        assert browser.get(f"{asked.url}/repo/").status_code == 401
        browser.get(f"{asked.url}/login/")
        form = {"username": "admin", "password": password, "csrfmiddlewaretoken": browser.cookies["csrftoken"]}
        assert browser.post(f"{asked.url}/login/", form).status_code == 200
        assert browser.get(f"{asked.url}/users/").status_code == 200
    process.terminate()
    assert process.wait(10) == 0
    dev.run("--no-sample")
    assert file.read_text().strip() == password


@pytest.mark.needs_buildah
def test_the_sample_builds_without_internet(dev: Dev):
    _, asked = dev.run()
    answer = asked.post("/check/", {"repo": "sample"})
    assert answer.status == 202, answer.body
    event = asked.wait(answer.json["event"]["id"])
    assert (event["status"], event["reason"]) == ("3", "")


@pytest.mark.parametrize("address", ["127.0.0.1:8000", "8000", "localhost:1", "[::1]:8000", "127.0.0.9"])
def test_these_addresses_are_of_this_machine_alone(address: str):
    assert is_loopback(address)


@pytest.mark.parametrize("address", ["0.0.0.0:8000", "[::]:8000", "10.0.0.1", "portal.example:80", "0:8000", "*:8000"])
def test_these_addresses_can_be_reached_by_others(address: str):
    assert not is_loopback(address)


@pytest.mark.parametrize(
    ("arguments", "environment", "development"),
    [
        (["runserver"], {}, True),
        (["dev", "--address", "127.0.0.1:1"], {}, True),
        (["runserver", "0.0.0.0:8000"], {}, False),
        (["watch"], {}, False),
        (["runserver"], {"CI_PORTAL_SECRETS__KEYS": "x"}, False),
        (["runserver"], {"CI_PORTAL_SECRETS_DIR": "/run/secrets"}, False),
        (["dev"], {"CI_PORTAL_CONFIG_FILE": CONFIGURED}, False),
    ],
)
def test_developments_defaults_are_for_a_machine_without_keys(monkeypatch, tmp_path, arguments, environment, development):
    empty = tmp_path / "empty.json"
    empty.write_text("{}")
    for name in [name for name in os.environ if name.startswith("CI_PORTAL_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("CI_PORTAL_CONFIG_FILE", str(empty))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("CI_PORTAL_DEVELOPMENT", "")
    monkeypatch.delenv("CI_PORTAL_DEVELOPMENT")
    use_development_defaults(arguments)
    assert os.environ.get("CI_PORTAL_DEVELOPMENT", "") == ("1" if development else "")
