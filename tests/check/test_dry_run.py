"""`dry_run` reports, check by check, what would happen, and changes nothing."""

import pytest

from events.models import Event
from repos.models import Repository
from runners.models import Run

pytestmark = pytest.mark.django_db


def points(answer):
    assert answer.status_code == 200, answer.content
    return {point["name"]: point["ok"] for point in answer.json()["checks"]}


def test_it_creates_nothing(check):
    check(dry_run=True)
    assert [model.objects.count() for model in (Repository, Event, Run)] == [0, 0, 0]


def test_it_names_commit_and_image(check, app):
    report = check(dry_run=True).json()
    assert report["commit"] == app.git("rev-parse", "main")
    assert report["image"].startswith("app:buildv")


def test_it_finds_dockerfile_and_build_path(check):
    found = points(check(dry_run=True, dockerfile="docker/Dockerfile", build_path="docker"))
    assert (found["repository"], found["dockerfile"], found["build_path"]) == (True, True, True)


def test_a_missing_dockerfile_is_told(check):
    answer = check(dry_run=True, dockerfile="nothing/Dockerfile")
    assert points(answer)["dockerfile"] is False
    assert not answer.json()["ok"]


def test_a_missing_build_path_is_told(check):
    assert points(check(dry_run=True, build_path="nothing"))["build_path"] is False


def test_what_comes_after_a_refused_login_is_not_looked_at(check):
    answer = check(dry_run=True, token="wrong-token-entirely")
    assert points(answer) == {"repository": False, "dockerfile": None, "registry": None, "backend": None}
    assert answer.json()["checks"][0]["field"] == "token"


def test_it_shows_the_manifest_without_secrets(check):
    answer = check(dry_run=True)
    assert answer.json()["manifest"]
    assert "s3cret" not in answer.content.decode()


def test_a_url_that_can_not_be_used_is_an_error_as_without_dry_run(check):
    assert check(dry_run=True, repo="file:///etc").status_code == 400
