"""`POST /check/refs/`: what one may choose from before a build."""

import pytest

from repos.credentials import store_git_login
from repos.models import Repository
from tests.check.conftest import TOKEN, USER
from tests.support import rows

pytestmark = pytest.mark.django_db


@pytest.fixture
def refs(server, client):
    def post(**body):
        return client.post("/check/refs/", body, content_type="application/json")

    return post


def test_it_tells_branches_and_tags_the_default_first(refs, server):
    answer = refs(repo=server.url("team/app.git"), user=USER, token=TOKEN)
    assert answer.status_code == 200
    assert answer.json() == {"default": "main", "branches": ["main", "next"], "tags": ["v1.0"], "cut": False}


def test_a_registered_repository_is_asked_with_what_is_stored_for_it(refs, server):
    app = rows.repository("app", repo=server.url("team/app.git"))
    store_git_login(app, USER, TOKEN)
    assert refs(repo="app").json()["default"] == "main"


def test_nothing_is_written(refs, server):
    refs(repo=server.url("team/app.git"), user=USER, token=TOKEN)
    assert not Repository.objects.exists()


def test_a_wrong_token_is_told_by_its_field_and_never_repeated(refs, server):
    answer = refs(repo=server.url("team/app.git"), user=USER, token="wr0ng-token")
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "token"
    assert "wr0ng" not in answer.content.decode()


@pytest.mark.parametrize("body", [{"repo": "x", "branch": "main"}, {}, {"repo": "file:///etc/passwd"}])
def test_what_a_check_would_refuse_is_refused(refs, body):
    assert refs(**body).status_code in (400, 404)


def test_tags_come_newest_first_by_their_numbers_and_no_more_than_one_reads(refs, server, monkeypatch):
    many = server.repository("many.git")
    commit = many.commit({"Dockerfile": "FROM scratch\n"})
    for tag in ("v1.9", "v1.10", "v1.2"):
        many.tag(tag, commit)
    assert refs(repo=server.url("many.git")).json()["tags"] == ["v1.10", "v1.9", "v1.2"]
    monkeypatch.setattr("ci_portal.refs_view.MOST", 2)
    answer = refs(repo=server.url("many.git")).json()
    assert (answer["tags"], answer["cut"]) == (["v1.10", "v1.9"], True)
