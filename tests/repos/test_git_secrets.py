import os
import stat
import traceback
from pathlib import Path

import pytest

from repos import git
from repos.credentials import GitLogin
from repos.git import Remote, look_inside, resolve

TOKEN = "tok-5ecret-9f3a"
KEY = "portal-key-that-git-must-not-see"


@pytest.fixture
def seen(server, monkeypatch):
    """What every process of this machine showed of itself while git waited for an answer: arguments and environment."""
    monkeypatch.setenv("CI_PORTAL_SECRETS__KEYS", KEY)
    shown = {"cmdline": b"", "environ": b""}

    def look():
        for process in Path("/proc").glob("[0-9]*"):
            for kind in shown:
                if int(process.name) != os.getpid():
                    try:
                        shown[kind] += (process / kind).read_bytes()
                    except OSError:
                        continue

    server.onlookers.append(look)
    return shown


@pytest.fixture
def private(app, server):
    app.commit({"Dockerfile": "FROM scratch"})
    server.require_login("app.git", "me", TOKEN)
    return Remote(server.url("app.git"), GitLogin("me", TOKEN), ca_pem=server.ca_pem)


def look(remote: Remote) -> None:
    """Ask by git itself, which refs are not asked by where that can be helped."""
    assert look_inside(remote, resolve(remote), [("dockerfile", "Dockerfile", "file")]) == []


def test_the_token_is_in_no_argument_and_no_environment_while_git_runs(private, server, seen):
    look(private)
    assert ("git-upload-pack", 200) in server.asked("app.git")
    assert server.url("app.git").encode() in seen["cmdline"]
    assert b"GIT_ALLOW_PROTOCOL=https:ssh" in seen["environ"]
    for shown in seen.values():
        assert TOKEN.encode() not in shown


def test_a_token_in_the_url_is_in_no_argument_either(private, server, seen):
    look(Remote(private.url.replace("//", f"//me:{TOKEN}@"), ca_pem=server.ca_pem))
    assert server.url("app.git").encode() in seen["cmdline"]
    assert TOKEN.encode() not in seen["cmdline"] + seen["environ"]


def test_git_gets_nothing_of_the_portals_own_secrets(private, seen):
    look(private)
    assert b"GIT_ALLOW_PROTOCOL=https:ssh" in seen["environ"]
    assert KEY.encode() not in seen["environ"]


def test_the_file_with_the_token_is_private_and_gone_afterwards(private, server, scratch):
    modes = []
    server.onlookers.append(
        lambda: modes.extend(stat.S_IMODE(path.stat().st_mode) for path in [*scratch.iterdir(), *scratch.glob("*/login")])
    )
    look(private)
    assert set(modes) == {0o700, 0o600}
    assert list(scratch.iterdir()) == []


def test_asking_for_a_ref_starts_no_process_and_writes_no_file(private, server, seen, scratch):
    resolve(private)
    assert server.asked("app.git") == [("refs", 200), ("git-upload-pack", 200)]
    assert server.url("app.git").encode() not in seen["cmdline"]
    assert TOKEN.encode() not in seen["cmdline"] + seen["environ"]
    assert list(scratch.iterdir()) == []


def test_no_error_shows_the_token(private, server, scratch):
    wrong = Remote(private.url.replace("//", f"//me:{TOKEN}-wrong@"), ca_pem=server.ca_pem)
    with pytest.raises(git.CredentialsRefused) as refused:
        resolve(wrong)
    assert TOKEN not in "".join(traceback.format_exception(refused.value))
    assert list(scratch.iterdir()) == []


def test_a_remote_shows_no_login_of_its_own(private):
    assert TOKEN not in repr(private)
    assert TOKEN not in repr(Remote(f"https://me:{TOKEN}@git.example/app"))


def test_the_token_goes_to_no_other_host(private, server, tmp_path):
    server.statuses["app.git"] = 401
    with pytest.raises(git.CredentialsRefused):
        resolve(private)
    assert {request.user for request in server.requests} <= {"", "me"}
