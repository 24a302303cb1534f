import os

import pytest

from repos import git
from repos.git import Remote, Resolved, look_inside, resolve
from tests.support.git_server import Submodule, Symlink, git_server

FILES = {
    "Dockerfile": "FROM scratch",
    "docker/api/Dockerfile": "FROM scratch",
    "vendor": Submodule("1" * 40),
    "links/inside": Symlink("../docker/api/Dockerfile"),
    "links/winding": Symlink("./../docker/.././docker//api/Dockerfile"),
    "links/twice": Symlink("inside"),
    "alias": Symlink("docker/api/"),
    "root": Symlink("."),
    "links/absolute": Symlink("/etc/passwd"),
    "links/outside": Symlink("../../outside"),
    "links/late": Symlink("../docker/../../outside"),
    "etc": Symlink("../../etc"),
    "circle": Symlink("links/../circle"),
    "dangling": Symlink("nowhere"),
    "through": Symlink("Dockerfile/x"),
}
THERE = [
    ("Dockerfile", "file"),
    ("docker/api/Dockerfile", "file"),
    ("./docker//api/Dockerfile", "file"),
    (".", "directory"),
    ("./", "directory"),
    ("docker", "directory"),
    ("docker/api/", "directory"),
    ("links/inside", "file"),
    ("links/winding", "file"),
    ("links/twice", "file"),
    ("alias", "directory"),
    ("alias/Dockerfile", "file"),
    ("root/root/alias/Dockerfile", "file"),
    ("root", "directory"),
]
PROBLEMS = [
    ("Dockerfile.prod", "file", "There is no file Dockerfile.prod in commit"),
    ("no/such", "directory", "There is no directory no/such in commit"),
    ("Dockerfile/x", "file", "There is no file Dockerfile/x in commit"),
    ("docker", "file", "docker is a directory in commit"),
    ("Dockerfile", "directory", "Dockerfile is a file in commit"),
    (".", "file", ". is a directory in commit"),
    ("../Dockerfile", "file", "must stay inside"),
    ("/Dockerfile", "file", "must be relative"),
    ("--help", "file", "can't start with"),
    ("*", "file", "There is no file * in commit"),
    (":(top)Dockerfile", "file", "There is no file :(top)Dockerfile in commit"),
    ("dockerfile", "file", "There is no file dockerfile in commit"),
    ("vendor", "directory", "submodule"),
    ("vendor/Dockerfile", "file", "submodule"),
    ("links/absolute", "file", "leads out of the repository"),
    ("links/outside", "file", "leads out of the repository"),
    ("links/late", "file", "leads out of the repository"),
    ("etc/passwd", "file", "leads out of the repository"),
    ("circle", "file", "leads in a circle"),
    ("dangling", "file", "to something that is not there"),
    ("through", "file", "to something that is not there"),
]


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """What is said of every path, asked for in one go as a dry run does."""
    asked = [(path, kind) for path, kind, *_ in [*THERE, *PROBLEMS]]
    with git_server(tmp_path_factory.mktemp("git")) as server:
        server.repository("app.git").commit(FILES)
        remote = Remote(server.url("app.git"), ca_pem=server.ca_pem)
        found = look_inside(remote, resolve(remote), [(str(number), *path) for number, path in enumerate(asked)])
    return {asked[int(number)]: message for number, message in found}


@pytest.mark.parametrize(("path", "kind"), THERE)
def test_what_is_there_is_no_problem(told, path, kind):
    assert (path, kind) not in told


@pytest.mark.parametrize(("path", "kind", "sentence"), PROBLEMS)
def test_what_is_not_there_is_said_in_a_sentence(told, path, kind, sentence):
    assert sentence in told[path, kind]


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
