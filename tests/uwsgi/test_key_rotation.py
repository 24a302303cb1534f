"""Keys are rotated while web server and watcher work, though the rotation is killed and credentials are written meanwhile."""

import json
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from tests.support.git_server import GitServer, git_server
from tests.support.portal import Portal, portal
from tests.support.uwsgi_portal import UwsgiPortal
from tests.support.waiting import until

pytestmark = pytest.mark.needs_uwsgi
OLD, NEW = (Fernet.generate_key().decode() for _ in range(2))
LOGIN = ("ci-bot", "s3cret-token-for-git")
MANY = 300
#: Rows as busy installations have them, stored while there was the old key alone.
FILL = f"""
from django.db import transaction
from repos.credentials import store_git_login
from repos.models import Repository
with transaction.atomic():
    for number in range({MANY}):
        repository = Repository.objects.create(repo_name=f"r{{number}}", repo=f"https://git.example/r{{number}}.git")
        store_git_login(repository, "u", f"t{{number}}")
"""
READ = """
from repos.credentials import git_login
from repos.models import Repository
for row in Repository.objects.filter(repo_name__startswith="r"):
    number = row.repo_name[1:]
    assert git_login(row).password in (f"t{number}", f"changed-{number}"), row
"""


@pytest.fixture
def git(tmp_path: Path) -> Iterator[GitServer]:
    with git_server(tmp_path / "git") as server:
        server.repository("app.git").commit({"Dockerfile": "FROM scratch\n"})
        server.require_login("app.git", *LOGIN)
        yield server


@pytest.fixture
def running(git: GitServer, tmp_path: Path) -> Iterator[UwsgiPortal]:
    (tmp_path / "ca.pem").write_text(git.ca_pem)
    sections = {"secrets": {"keys": [OLD]}, "git": {"ca_bundle": str(tmp_path / "ca.pem")}, "build": {"folder": str(tmp_path)}}
    with portal(tmp_path / "portal", of=UwsgiPortal, **sections) as it:
        assert isinstance(it, UwsgiPortal)
        yield it


def use_keys(served: Portal, *keys: str) -> None:
    """What an administrator does: change the list, and restart."""
    path = served.folder / "configure_server.json"
    sections = json.loads(path.read_text())
    path.write_text(json.dumps({**sections, "secrets": {**sections["secrets"], "keys": keys}}))
    served.restart()


def ciphertexts(served: Portal) -> dict[int, str]:
    with sqlite3.connect(served.folder / "portal.sqlite3", timeout=30) as connection:
        return dict(connection.execute("SELECT id, ciphertext FROM credential").fetchall())


def test_keys_are_rotated_while_the_portal_works(running: UwsgiPortal, git: GitServer):
    running.shell(FILL)
    check = {"repo": git.url("app.git"), "user": LOGIN[0], "token": LOGIN[1], "dry_run": True}
    use_keys(running, NEW, OLD)
    assert until(running.watcher, 30)
    before = ciphertexts(running)

    killed = running.manage("rotate_keys")
    until(lambda: ciphertexts(running) != before or killed.poll() is not None, 60)
    killed.kill()
    assert killed.wait() < 0, "it was at work"
    assert 0 < sum(text == before[key] for key, text in ciphertexts(running).items()) < MANY

    with ThreadPoolExecutor(4) as people:
        again = running.manage("rotate_keys", log="again.log")
        writes = [
            people.submit(running.request, "PATCH", f"/repo/r{number}/", {"git_token": f"changed-{number}"})
            for number in range(0, MANY, 25)
        ]
        looks = [people.submit(running.post, "/check/", check) for _ in range(4)]
        assert again.wait(120) == 0, running.logs()
        assert {write.result().status for write in writes} == {200}
        assert {look.result().json["checks"][0]["ok"] for look in looks} == {True}
    assert "No stored credential needs the other 1 of secrets.keys" in (running.folder / "again.log").read_text()

    use_keys(running, NEW)
    running.shell(READ)
    assert running.manage("rotate_keys").wait(60) == 0


def test_a_wrong_key_is_an_error(running: UwsgiPortal):
    running.shell(FILL.replace(str(MANY), "2"))
    use_keys(running, NEW)
    assert running.manage("rotate_keys", log="wrong.log").wait(60) == 1
    assert "git user and token of r0\n" in (running.folder / "wrong.log").read_text()
    answer = running.post("/check/", {"repo": "r0"})
    assert (answer.status, answer.json["code"]) == (409, "credentials_unreadable")
