import os

import pytest

from repos import git
from repos.git import Resolved, look_inside, resolve
from tests.support.git_server import Submodule, Symlink


@pytest.fixture
def look(app, remote):
    """Commit files and look for one path."""

    def ask(files, path, kind="file"):
        app.commit(files)
        return [message for _, message in look_inside(remote(), resolve(remote()), [("dockerfile", path, kind)])]

    return ask


@pytest.mark.parametrize(
    ("path", "kind"),
    [("Dockerfile", "file"), ("docker/api/Dockerfile", "file"), ("./docker//api/Dockerfile", "file")]
    + [(".", "directory"), ("./", "directory"), ("docker", "directory"), ("docker/api/", "directory")],
)
def test_what_is_there_is_no_problem(look, path, kind):
    assert look({"Dockerfile": "FROM scratch", "docker/api/Dockerfile": "FROM scratch"}, path, kind) == []


@pytest.mark.parametrize(
    ("path", "kind", "sentence"),
    [
        ("Dockerfile.prod", "file", "There is no file Dockerfile.prod in commit"),
        ("no/such", "directory", "There is no directory no/such in commit"),
        ("Dockerfile/x", "file", "There is no file Dockerfile/x in commit"),
        ("docker", "file", "docker is a directory in commit"),
        ("Dockerfile", "directory", "Dockerfile is a file in commit"),
        (".", "file", "is a directory in commit"),
        ("../Dockerfile", "file", "must stay inside"),
        ("/Dockerfile", "file", "must be relative"),
        ("--help", "file", "can't start with"),
        ("*", "file", "There is no file * in commit"),
        (":(top)Dockerfile", "file", "There is no file :(top)Dockerfile in commit"),
        ("dockerfile", "file", "There is no file dockerfile in commit"),
    ],
)
def test_what_is_not_there_is_said_in_a_sentence(look, path, kind, sentence):
    [message] = look({"Dockerfile": "FROM scratch", "docker/x": "1"}, path, kind)
    assert sentence in message


@pytest.mark.parametrize("target", ["docker/Dockerfile", "./docker/../docker/Dockerfile", "link"])
def test_symlinks_inside_are_followed(look, target):
    files = {"docker/Dockerfile": "FROM scratch", "link": Symlink("docker/Dockerfile"), "Dockerfile": Symlink(target)}
    assert look(files, "Dockerfile") == []


def test_a_folder_behind_a_symlink_is_found(look):
    assert look({"real/deep/Dockerfile": "FROM scratch", "alias": Symlink("real/deep")}, "alias/Dockerfile") == []


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ("/etc/passwd", "leads out of the repository"),
        ("../outside", "leads out of the repository"),
        ("docker/../../outside", "leads out of the repository"),
        ("Dockerfile", "leads in a circle"),
        ("nowhere", "to something that is not there"),
    ],
)
def test_symlinks_that_lead_astray_are_problems(look, target, sentence):
    [message] = look({"docker/x": "1", "Dockerfile": Symlink(target)}, "Dockerfile")
    assert sentence in message


def test_a_folder_that_leads_out_is_a_problem(look):
    [message] = look({"build": Symlink("../../etc")}, "build/Dockerfile")
    assert "leads out of the repository" in message


def test_a_submodule_is_a_problem(look):
    [message] = look({"vendor": Submodule("1" * 40)}, "vendor", "directory")
    assert "submodule" in message


def test_every_path_is_looked_at_and_named_by_its_field(app, remote):
    app.commit({"x": "1"})
    problems = look_inside(remote(), resolve(remote()), [("dockerfile", "Dockerfile", "file"), ("build_path", "app", "directory")])
    assert [name for name, _ in problems] == ["dockerfile", "build_path"]


def test_a_commit_that_is_no_branchs_newest_any_more_can_be_looked_into(app, remote):
    older = resolve(remote(), branch="main") if app.commit({"Dockerfile": "1"}) else None
    app.commit({"x": "1"})
    assert look_inside(remote(), older, [("dockerfile", "Dockerfile", "file")]) == []


def test_it_works_with_a_login(app, server, remote):
    server.require_login("app.git", "me", "token")
    app.commit({"Dockerfile": Symlink("real"), "real": "FROM scratch"})
    private = remote("app.git", "me", "token")
    assert look_inside(private, resolve(private), [("dockerfile", "Dockerfile", "file")]) == []


def test_it_works_with_servers_that_filter_nothing(app, server, remote):
    server.configure(uploadpack_allowFilter="false")
    app.commit({"Dockerfile": "FROM scratch"})
    assert look_inside(remote(), resolve(remote()), [("dockerfile", "Dockerfile", "file")]) == []


def test_it_fetches_the_tag_where_a_server_serves_no_bare_commit(app, server, remote):
    server.rules.protocol_v2 = False
    older = app.commit({"Dockerfile": "FROM scratch"})
    app.tag("v1", older, annotated=True)
    app.commit({"x": "1"})
    assert look_inside(remote(), resolve(remote(), tag="v1"), [("dockerfile", "Dockerfile", "file")]) == []


def test_it_says_where_a_server_keeps_a_symlink_to_itself(app, server, remote):
    server.rules.protocol_v2 = False
    app.commit({"Dockerfile": Symlink("real"), "real": "FROM scratch"})
    [(_, message)] = look_inside(remote(), resolve(remote()), [("dockerfile", "Dockerfile", "file")])
    assert "could not be read from this host" in message


def test_it_says_when_the_branch_moved_and_the_commit_is_not_served(app, server, remote):
    server.rules.protocol_v2 = False
    older = Resolved("refs/heads/main", app.commit({"Dockerfile": "FROM scratch"}))
    app.commit({"x": "1"})
    with pytest.raises(git.RefNotFound, match="try again"):
        look_inside(remote(), older, [("dockerfile", "Dockerfile", "file")])


def test_files_that_nobody_asked_for_are_not_fetched(app, server, remote, monkeypatch):
    app.commit({"Dockerfile": "FROM scratch", "huge": os.urandom(3_000_000)})
    monkeypatch.setattr(git, "FETCH_BYTES", 1_000_000)
    monkeypatch.setattr(git, "_LOOK_SECONDS", 0.005)
    assert look_inside(remote(), resolve(remote()), [("dockerfile", "Dockerfile", "file")]) == []


def test_a_repository_that_is_too_large_is_cut_off(app, server, remote, monkeypatch, scratch):
    server.configure(uploadpack_allowFilter="false")
    app.commit({"Dockerfile": "FROM scratch", "huge": os.urandom(20_000_000)})
    monkeypatch.setattr(git, "FETCH_BYTES", 1_000_000)
    monkeypatch.setattr(git, "_LOOK_SECONDS", 0.005)
    with pytest.raises(git.TooLarge):
        look_inside(remote(), resolve(remote()), [("dockerfile", "Dockerfile", "file")])
    assert list(scratch.iterdir()) == []
