import os
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from repos import git
from repos.git import Remote, list_refs, resolve
from tests.support.git_server import git_server
from tests.support.pki import Authority
from tests.support.ports import free_port


def failure(*arguments, call=resolve, **options):
    with pytest.raises(git.GitError) as failed:
        call(*arguments, **options)
    return failed.value


def test_wrong_credentials_are_told(app, server, remote):
    server.require_login("app.git", "me", "right")
    app.commit({"a": "1"})
    error = failure(remote("app.git", "me", "wrong-token"))
    assert (type(error), error.field, error.code) == (git.CredentialsRefused, "token", "git_credentials_refused")
    assert "refuses these" in error.message


def test_missing_credentials_are_told(app, server, remote):
    server.require_login("app.git", "me", "right")
    error = failure(remote())
    assert type(error) is git.CredentialsRefused
    assert "wants credentials" in error.message


def test_credentials_that_may_not_read_are_told(app, server, remote):
    server.statuses["app.git"] = 403
    error = failure(remote("app.git", "me", "token"))
    assert type(error) is git.CredentialsRefused
    assert "forbids" in error.message


def test_a_login_with_a_line_break_never_reaches_git(server, remote):
    error = failure(remote("app.git", "me", "token\nurl=https://elsewhere.example"))
    assert type(error) is git.CredentialsRefused
    assert server.requests == []


def test_an_unknown_certificate_is_told(app, server):
    error = failure(Remote(server.url("app.git")))
    assert (type(error), error.field, error.code) == (git.UnknownCertificate, "ca_secret", "git_certificate_unknown")


def test_a_certificate_for_another_name_is_unknown(tmp_path, monkeypatch):
    write = Authority.write
    monkeypatch.setattr(Authority, "write", lambda authority, folder: write(authority, folder, ["elsewhere.example"]))
    with git_server(tmp_path) as server:
        server.repository("app.git").commit({"a": "1"})
        assert type(failure(Remote(server.url("app.git"), ca_pem=server.ca_pem))) is git.UnknownCertificate


def test_a_certificate_is_checked_whatever_the_portals_environment_says(app, server, monkeypatch, tmp_path):
    (tmp_path / "ca.pem").write_text(server.ca_pem)
    monkeypatch.setenv("GIT_SSL_NO_VERIFY", "1")
    monkeypatch.setenv("GIT_SSL_CAINFO", str(tmp_path / "ca.pem"))
    assert type(failure(Remote(server.url("app.git")))) is git.UnknownCertificate


def test_an_unreadable_bundle_is_the_administrators_to_mend(settings, remote):
    settings.PORTAL = settings.PORTAL.model_copy(
        update={"git": settings.PORTAL.git.model_copy(update={"ca_bundle": "/no/such.pem"})}
    )
    error = failure(remote())
    assert type(error) is git.UnknownCertificate
    assert "administrator" in error.message


def test_an_unknown_repository_is_told(server, remote):
    error = failure(remote("nothing.git"))
    assert (type(error), error.field, error.code) == (git.RepositoryNotFound, "repo", "git_repository_not_found")
    assert "hide private repositories" in error.message


def test_with_credentials_the_hint_is_another(server, remote):
    assert "these credentials may see it" in failure(remote("nothing.git", "me", "token")).message


def test_a_web_page_is_no_repository(server, remote):
    server.texts["page.git"] = "<html>Welcome to the intranet</html>"
    error = failure(remote("page.git"))
    assert "or it is none" in error.message
    assert "intranet" not in error.message


@pytest.mark.parametrize("status", [500, 502, 503, 429])
def test_a_failing_server_is_unreachable_for_now(server, remote, status):
    server.statuses["app.git"] = status
    error = failure(remote())
    assert type(error) is git.HostUnreachable
    assert "try again" in error.message


def test_an_unknown_branch_is_told_with_the_one_that_was_meant(app, remote):
    app.commit({"a": "1"}, branch="release-1")
    error = failure(remote(), branch="relase-1")
    assert (type(error), error.field, error.code) == (git.RefNotFound, "branch", "git_ref_not_found")
    assert error.message == "The repository has no branch relase-1. Did you mean release-1?"


def test_an_unknown_tag_is_told(app, remote):
    app.tag("v1.0", app.commit({"a": "1"}))
    error = failure(remote(), tag="2024-first")
    assert (type(error), error.field) == (git.RefNotFound, "tag")
    assert error.message == "The repository has no tag 2024-first."


@pytest.mark.parametrize("wanted", [{}, {"branch": "main"}, {"tag": "v1"}])
def test_an_empty_repository_is_told(app, remote, wanted):
    error = failure(remote(), **wanted)
    assert (type(error), error.code) == (git.RefNotFound, "git_repository_empty")
    assert "is empty" in error.message


def test_a_head_that_leads_nowhere_asks_for_a_branch(app, remote):
    app.commit({"a": "1"}, branch="develop")
    error = failure(remote())
    assert (type(error), error.field) == (git.RefNotFound, "branch")
    assert "name the branch" in error.message


@pytest.mark.parametrize("name", ["--upload-pack=touch", "a b", "a..b", "a:b", "refs/heads/x", "x\n", "*", "^x", "HEAD"])
def test_a_hostile_branch_never_reaches_git(server, remote, name):
    error = failure(remote(), branch=name)
    assert (type(error), error.field) == (git.RefNotFound, "branch")
    assert server.requests == []


@pytest.mark.parametrize(
    "url", ["ext::sh -c touch% /tmp/x", "file:///etc", "--upload-pack=touch", "http://localhost/x", "/etc", "git://localhost/x"]
)
def test_a_hostile_url_never_reaches_git(url, scratch):
    assert type(failure(Remote(url))) is git.InvalidUrl
    assert list(scratch.iterdir()) == []


def test_a_port_where_nobody_listens_is_unreachable(server):
    error = failure(Remote(f"https://localhost:{free_port()}/app.git"))
    assert (type(error), error.field, error.code) == (git.HostUnreachable, "repo", "git_host_unreachable")


def test_a_host_that_does_not_resolve_is_unreachable():
    assert type(failure(Remote("https://nowhere.invalid/app.git"))) is git.HostUnreachable


def test_a_server_without_tls_is_unreachable():
    with socket.create_server(("127.0.0.1", 0)) as plain:
        plain.listen()
        port = plain.getsockname()[1]
        error = failure(Remote(f"https://localhost:{port}/app.git"), seconds=0.5)
    assert type(error) is git.GitTimeout


def test_a_refused_address_is_not_dialled(server, settings):
    portal = settings.PORTAL
    settings.PORTAL = portal.model_copy(update={"git": portal.git.model_copy(update={"allow_private_networks": False})})
    assert type(failure(Remote(server.url("app.git"), ca_pem=server.ca_pem))) is git.AddressRefused
    assert server.requests == []


def test_a_redirect_is_not_followed(app, server, remote, tmp_path):
    with git_server(tmp_path / "elsewhere") as elsewhere:
        elsewhere.repository("app.git").commit({"a": "1"})
        server.redirects["moved.git"] = elsewhere.url("app.git")
        error = failure(remote("moved.git", "me", "token"))
        assert (type(error), error.code) == (git.Redirected, "git_redirected")
        assert elsewhere.requests == []


def test_a_silent_server_is_given_up_and_nothing_of_git_stays(server, remote, scratch):
    server.silent.add("app.git")
    begun = time.monotonic()
    error = failure(remote(), seconds=0.5)
    assert (type(error), error.code) == (git.GitTimeout, "git_timeout")
    assert time.monotonic() - begun < 5
    assert list(scratch.iterdir()) == []
    assert not _processes_that_mention(server.url("app.git"))


def test_a_host_is_not_asked_more_at_once_than_it_can_answer(app, server, remote, monkeypatch):
    monkeypatch.setattr(git, "AT_ONCE", 2)
    monkeypatch.setattr(git, "TURN_SECONDS", 0.2)
    app.commit({"a": "1"})
    server.silent.add("silent.git")
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(failure, remote("silent.git"), seconds=2) for _ in range(2)]
        time.sleep(1)
        error = failure(remote())
        assert (type(error), error.code) == (git.GitTimeout, "git_timeout")
        assert "2 other questions to localhost" in str(error)
        assert {type(question.result()) for question in asked} == {git.GitTimeout}
    assert git.resolve(remote()).commit


def _processes_that_mention(text: str) -> list[bytes]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            arguments = path.read_bytes()
        except OSError:
            continue
        if text.encode() in arguments and path.parent.name != str(os.getpid()):
            found.append(arguments)
    return found


def test_endless_answers_are_cut_off(app, remote, monkeypatch):
    app.commit({"a": "1"})
    monkeypatch.setattr(git, "OUTPUT_BYTES", 20)
    error = failure(remote(), call=list_refs)
    assert (type(error), error.code) == (git.TooLarge, "git_too_large")


def test_what_a_remote_says_is_not_passed_on_with_a_secret_or_control_characters():
    stderr = "remote: hi\nfatal: token tok-123 \x1b[31mis%20 odd me@corp\n"
    error = git.git_failures.unknown(stderr, "git.example", ["tok-123", "me@corp", ""])
    assert error.message == "git could not read the repository on git.example: token ***  [31mis%20 odd ***"
