"""Each way in which a check can fail has its own 4xx answer, names the field to correct, and creates nothing."""

import pytest

from events.models import Event
from logs.models import Log
from repos.models import Credential, Repository
from runners.models import Run
from tests.check.conftest import TOKEN

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def nothing_is_created():
    yield
    assert [model.objects.count() for model in (Repository, Event, Run, Log, Credential)] == [0] * 5


def problem(answer):
    assert answer["Content-Type"] == "application/problem+json", answer.content
    body = answer.json()
    assert TOKEN not in answer.content.decode()
    return answer.status_code, body["code"], [error["field"] for error in body.get("errors", [])]


def test_wrong_credentials(check):
    assert problem(check(token="wrong-token-entirely")) == (422, "git_credentials_refused", ["token"])


def test_no_credentials_where_some_are_needed(check):
    assert problem(check(user=None, token=None)) == (422, "git_credentials_refused", ["token"])


def test_no_such_repository(check, server):
    assert problem(check(repo=server.url("team/nothing.git"))) == (422, "git_repository_not_found", ["repo"])


def test_no_such_branch(check):
    assert problem(check(branch="nothing")) == (422, "git_ref_not_found", ["branch"])


def test_no_such_tag(check):
    assert problem(check(tag="v9")) == (422, "git_ref_not_found", ["tag"])


def test_an_empty_repository(check, server):
    status, code, _ = problem(check(repo=server.url("empty.git")))
    assert (status, code) == (422, "git_repository_empty")


def test_no_such_host(check):
    assert problem(check(repo="https://nowhere.invalid/app.git")) == (424, "git_host_unreachable", ["repo"])


def test_a_host_that_does_not_listen(check):
    assert problem(check(repo="https://127.0.0.1:9/app.git")) == (424, "git_host_unreachable", ["repo"])


def test_an_unknown_certificate(check, settings):
    git = settings.PORTAL.git.model_copy(update={"ca_bundle": ""})
    settings.PORTAL = settings.PORTAL.model_copy(update={"git": git})
    assert problem(check()) == (422, "git_certificate_unknown", ["ca_secret"])


def test_an_address_that_is_out_of_bounds(check, settings):
    git = settings.PORTAL.git.model_copy(update={"allow_private_networks": False})
    settings.PORTAL = settings.PORTAL.model_copy(update={"git": git})
    assert problem(check()) == (400, "git_address_refused", ["repo"])


def test_a_ca_secret_that_does_not_exist(check):
    assert problem(check(ca_secret="nothing")) == (422, "ca_secret_unusable", ["ca_secret"])


@pytest.mark.parametrize(
    "url", ["file:///etc", "ext::sh -c id", "http://git.example/app.git", "https://git.example/app.git?x=1", "-u@host:x"]
)
def test_a_url_that_git_must_not_get(check, url):
    status, _, fields = problem(check(repo=url))
    assert (status, fields) == (400, ["repo"])


def test_a_bare_name_without_a_configured_base(check):
    assert problem(check(repo="unheard-of")) == (404, "repository_unknown", ["repo"])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("branch", "a..b"),
        ("tag", "-x"),
        ("dockerfile", "../Dockerfile"),
        ("build_path", "/etc"),
        ("image", "team/UPPER"),
        ("image", "app:latest"),
        ("type", "x" * 21),
        ("desc", "x" * 201),
        ("repo", ""),
        ("repo", "a\x00b"),
        ("ca_secret", "Not_A_Name"),
        ("force", "perhaps"),
    ],
)
def test_what_a_field_can_not_hold(check, field, value):
    assert problem(check(**{field: value})) == (400, "invalid", [field])


def test_an_image_that_outgrows_its_column_with_the_registry_in_front(check, settings):
    registry = settings.PORTAL.registry.model_copy(update={"address": f"{'r' * 60}.example:5000"})
    settings.PORTAL = settings.PORTAL.model_copy(update={"registry": registry})
    assert problem(check(image="i" * 150)) == (400, "invalid", ["image"])


def test_an_unknown_field(check):
    assert problem(check(brunch="main")) == (400, "invalid", ["brunch"])


def test_a_body_that_is_no_object(client):
    assert problem(client.post("/check/", "[]", content_type="application/json"))[0] == 400


def test_an_idempotency_key_that_is_too_long(check):
    assert problem(check({"Idempotency-Key": "x" * 256}))[0] == 400
