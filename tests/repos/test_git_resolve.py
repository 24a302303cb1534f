import socket

import pytest

from repos import git
from repos.git import RefNotFound, Remote, Resolved, list_refs, resolve
from tests.support.git_server import git_server
from tests.support.pki import Authority


def test_a_branch_resolves_to_its_newest_commit(app, remote):
    app.commit({"a": "1"})
    newest = app.commit({"a": "2"})
    assert resolve(remote(), branch="main") == Resolved("refs/heads/main", newest)


def test_a_branch_with_slashes_resolves(app, remote):
    app.commit({"a": "1"})
    commit = app.commit({"a": "2"}, branch="release/1.x")
    assert resolve(remote(), branch="release/1.x") == Resolved("refs/heads/release/1.x", commit)


def test_a_branch_is_not_taken_for_one_whose_name_ends_like_it(app, remote):
    app.commit({"a": "1"}, branch="main")
    app.git("update-ref", "refs/heads/refs/heads/other", "refs/heads/main")
    with pytest.raises(RefNotFound):
        resolve(remote(), branch="other")


def test_neither_branch_nor_tag_resolves_to_the_default_branch(server, remote):
    app = server.repository("app.git", default_branch="trunk")
    commit = app.commit({"a": "1"}, branch="trunk")
    app.commit({"a": "2"}, branch="main")
    assert resolve(remote()) == Resolved("refs/heads/trunk", commit)


def test_a_detached_head_resolves_without_a_branch(app, remote):
    commit = app.commit({"a": "1"})
    app.git("update-ref", "--no-deref", "HEAD", commit)
    app.commit({"a": "2"})
    assert resolve(remote()) == Resolved("HEAD", commit)


def test_a_light_tag_resolves_to_its_commit(app, remote):
    commit = app.commit({"a": "1"})
    app.tag("v1", commit)
    assert resolve(remote(), tag="v1") == Resolved("refs/tags/v1", commit)


def test_an_annotated_tag_resolves_to_the_commit_and_not_to_the_tag_object(app, remote):
    commit = app.commit({"a": "1"})
    assert app.tag("v2", commit, annotated=True) != commit
    assert resolve(remote(), tag="v2") == Resolved("refs/tags/v2", commit)


def test_the_tag_wins_over_the_branch(app, remote):
    tagged = app.commit({"a": "1"})
    app.tag("v1", tagged)
    app.commit({"a": "2"})
    assert resolve(remote(), branch="main", tag="v1").commit == tagged


def test_a_tag_and_a_branch_of_one_name_are_told_apart(app, remote):
    tagged = app.commit({"a": "1"})
    app.tag("main", tagged)
    newest = app.commit({"a": "2"})
    assert resolve(remote(), branch="main").commit == newest
    assert resolve(remote(), tag="main").commit == tagged


def test_the_remote_is_asked_once(app, server, remote):
    app.commit({"a": "1"})
    resolve(remote(), branch="main")
    assert server.asked("app.git") == [("refs", 200), ("git-upload-pack", 200)]


def test_it_works_with_servers_of_the_old_protocol(app, server, remote):
    server.rules.protocol_v2 = False
    commit = app.commit({"a": "1"})
    app.tag("v1", commit, annotated=True)
    assert resolve(remote()) == Resolved("refs/heads/main", commit)
    assert resolve(remote(), tag="v1").commit == commit


def test_it_works_with_sha256_repositories(server, remote):
    app = server.repository("sha256.git")
    for path in ("HEAD", "config"):
        (app.path / path).unlink()
    app.git("init", "--quiet", "--bare", "--object-format=sha256", "--initial-branch=main", ".")
    commit = app.commit({"a": "1"})
    assert len(commit) == 64
    assert resolve(remote("sha256.git")).commit == commit


def test_a_login_opens_a_private_repository(app, server, remote):
    server.require_login("app.git", "me@corp", "t/o:k@e n&密")
    commit = app.commit({"a": "1"})
    assert resolve(remote("app.git", "me@corp", "t/o:k@e n&密")).commit == commit


def test_a_token_in_place_of_the_user_opens_it_too(app, server, remote):
    server.require_login("app.git", "only-a-token", "")
    commit = app.commit({"a": "1"})
    assert resolve(remote("app.git", "only-a-token", "")).commit == commit


def test_a_login_in_the_url_is_used_where_there_is_no_other(app, server):
    server.require_login("app.git", "me", "to:ken")
    commit = app.commit({"a": "1"})
    url = server.url("app.git").replace("//", "//me:to%3Aken@")
    assert resolve(Remote(url, ca_pem=server.ca_pem)).commit == commit


def test_the_configured_authorities_are_trusted_besides(app, server, settings, tmp_path):
    bundle = tmp_path / "corp.pem"
    bundle.write_text(server.ca_pem)
    settings.PORTAL = settings.PORTAL.model_copy(update={"git": settings.PORTAL.git.model_copy(update={"ca_bundle": str(bundle)})})
    commit = app.commit({"a": "1"})
    assert resolve(Remote(server.url("app.git"))).commit == commit
    assert resolve(Remote(server.url("app.git"), ca_pem=Authority().pem)).commit == commit


def test_git_dials_the_address_that_was_judged_and_asks_no_resolver_itself(tmp_path, monkeypatch):
    authority = Authority()
    real = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, *rest, **more: real("127.0.0.1" if host == "pinned.invalid" else host, *rest, **more)
    )
    monkeypatch.setattr("tests.support.git_server.Authority.write", _write_for("pinned.invalid"))
    with git_server(tmp_path, authority=authority) as server:
        commit = server.repository("app.git").commit({"a": "1"})
        assert resolve(Remote(server.url("app.git", "pinned.invalid"), ca_pem=authority.pem)).commit == commit


def _write_for(name):
    write = Authority.write
    return lambda authority, folder: write(authority, folder, [name])


def test_it_lists_branches_and_tags_with_the_commits_they_lead_to(app, remote):
    first = app.commit({"a": "1"})
    app.tag("light", first)
    app.tag("annotated", first, annotated=True)
    second = app.commit({"a": "2"}, branch="feature/x")
    app.git("update-ref", "refs/pull/1/head", second)
    refs = list_refs(remote())
    assert refs.default == "main"
    assert refs.branches == {"main": first, "feature/x": second}
    assert refs.tags == {"light": first, "annotated": first}


def test_an_empty_repository_has_no_refs(app, remote):
    assert list_refs(remote()) == git.Refs("", {}, {})


def test_a_name_that_git_could_misread_is_not_taken_over_from_the_remote(app, remote):
    commit = app.commit({"a": "1"})
    (app.path / "refs/heads/-evil").write_text(commit + "\n")
    (app.path / "HEAD").write_text("ref: refs/heads/-evil\n")
    assert resolve(remote()) == Resolved("HEAD", commit)
