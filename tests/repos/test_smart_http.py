"""Refs are asked for without git where the host answers plainly; whatever else it answers, git is asked, and says what is wrong."""

import socket

import pytest

from repos import git, smart_http
from repos.git import Remote, Resolved, list_refs, resolve
from repos.smart_http import packet, packets, refs_of
from tests.support.git_server import git_server

ONE, TWO = "1" * 40, "2" * 40
PLAIN = [("refs", 200), ("git-upload-pack", 200)]


@pytest.fixture(autouse=True)
def nothing_known():
    smart_http._formats.clear()


def test_what_a_host_speaks_is_asked_once(app, server, remote):
    first = app.commit({"a": "1"})
    assert resolve(remote()).commit == first
    second = app.commit({"a": "2"})
    assert resolve(remote(), branch="main") == Resolved("refs/heads/main", second)
    assert server.asked("app.git") == [*PLAIN, ("git-upload-pack", 200)]


def test_branches_and_tags_are_listed_without_git(app, server, remote):
    commit = app.commit({"a": "1"})
    app.tag("v1", commit, annotated=True)
    assert list_refs(remote()) == git.Refs("main", {"main": commit}, {"v1": commit})
    assert server.asked("app.git") == PLAIN


def test_a_login_that_was_withdrawn_is_refused_although_the_host_is_known(app, server, remote):
    app.commit({"a": "1"})
    server.require_login("app.git", "me", "token")
    resolve(remote("app.git", "me", "token"))
    with pytest.raises(git.CredentialsRefused):
        resolve(remote("app.git", "me", "withdrawn"))


def test_a_refused_login_is_sent_once(app, server, remote):
    """Hosts lock out who tries too often."""
    app.commit({"a": "1"})
    server.require_login("app.git", "me", "token")
    with pytest.raises(git.CredentialsRefused):
        resolve(remote("app.git", "me", "wrong"))
    assert server.asked("app.git") == [("refs", 401)]


def test_a_host_that_forgets_version_2_is_asked_by_git(app, server, remote):
    commit = app.commit({"a": "1"})
    resolve(remote())
    server.rules.protocol_v2 = False
    assert resolve(remote()) == Resolved("refs/heads/main", commit)


def test_a_host_that_closed_the_open_connection_is_asked_again(tmp_path):
    with git_server(tmp_path / "one") as server:
        commit = server.repository("app.git").commit({"a": "1"})
        trusting = Remote(server.url("app.git"), ca_pem=server.ca_pem)
        real = server.RequestHandlerClass.answer
        for _ in range(2):
            assert resolve(trusting).commit == commit

        def once(handler) -> None:  # reads the request and hangs up
            server.RequestHandlerClass.answer = real
            handler.close_connection = True
            handler.connection.shutdown(socket.SHUT_RDWR)

        server.RequestHandlerClass.answer = once
        try:
            assert resolve(trusting).commit == commit
        finally:
            server.RequestHandlerClass.answer = real


def test_more_than_the_portal_takes_in_is_refused(app, remote, monkeypatch):
    app.commit({"a": "1"})
    monkeypatch.setattr(git, "OUTPUT_BYTES", 20)
    with pytest.raises(git.TooLarge):
        resolve(remote())


def test_a_symlinked_head_that_git_could_misread_is_not_taken(monkeypatch, remote, app):
    commit = app.commit({"a": "1"})
    answer = ({"HEAD": commit}, "refs/heads/-evil")
    monkeypatch.setattr(smart_http, "ls_refs", lambda *_: answer)
    assert resolve(remote()) == Resolved("HEAD", commit)


def test_an_answer_is_read_as_git_writes_it():
    answer = packet(f"{ONE} HEAD symref-target:refs/heads/main") + packet(f"{ONE} refs/tags/v1 peeled:{TWO}") + b"0000"
    assert refs_of(packets(answer)) == ({"HEAD": ONE, "refs/tags/v1": ONE, "refs/tags/v1^{}": TWO}, "refs/heads/main")


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        packet(f"{ONE} refs/heads/main"),  # ends too soon
        packet("ERR access denied") + b"0000",
        packet(f"{ONE[:39]} refs/heads/main") + b"0000",
        packet(ONE) + b"0000",
        b"0000" + packet(f"{ONE} refs/heads/main") + b"0000",
    ],
)
def test_what_is_no_whole_list_of_refs_is_none(answer: bytes):
    assert refs_of(packets(answer)) is None


@pytest.mark.parametrize("answer", [b"<html>", b"00", b"0003", b"ffff" + b"a" * 10, b"+010" + b"a" * 12, b"\xff\xff\xff\xff"])
def test_what_is_no_packet_is_an_error(answer: bytes):
    with pytest.raises(ValueError, match=r".*"):
        packets(answer)
