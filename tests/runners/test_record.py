"""What a check writes: names that stay apart, one active event for one build, and no build twice."""

import dataclasses

import pytest
from django.db import connection
from django.test import RequestFactory
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import ApiToken
from accounts.sender import SenderMiddleware
from events.models import Event
from repos.models import Repository
from runners.models import Run
from runners.record import BuildSettings, Source, record

pytestmark = pytest.mark.django_db

SOURCE = Source("refs/heads/main", "c" * 40)


@pytest.fixture
def repository():
    return Repository.objects.create(repo_name="prometh_exporter", repo="https://git.example/p.git", job="nightly")


def test_event_and_image_tag_share_the_minutes_stamp(repository):
    event, run, _ = record(repository, SOURCE, BuildSettings(), "ann")
    assert event.name == f"event-prometh-exporter-{event.image_tag}"
    assert len(event.image_tag) <= 20
    assert run.image_tag == event.image_tag
    assert event.created_by == "ann"


def test_the_event_tells_which_token_asked_for_it(repository, django_user_model):
    request = RequestFactory().post("/check/")
    request.api_token = ApiToken.objects.issue(django_user_model.objects.create_user("ann"), "nightly builds")[0]
    event, _, _ = SenderMiddleware(lambda _: record(repository, SOURCE, BuildSettings(), "ann"))(request)
    assert event.created_token == "nightly builds"


def test_the_job_is_named_after_what_the_repository_asks_for(repository):
    event, run, _ = record(repository, SOURCE, BuildSettings(), "ann")
    assert run.name == f"nightly-{run.uid[:8]}" == event.job


def test_two_builds_of_a_minute_have_names_and_tags_of_their_own(repository):
    first, _, _ = record(repository, SOURCE, BuildSettings(), "ann")
    second, _, _ = record(repository, dataclasses.replace(SOURCE, commit="e" * 40), BuildSettings(), "ann")
    assert first.name != second.name
    assert first.image_tag != second.image_tag


@pytest.fixture
def one_minute(monkeypatch):
    """Everything happens within the same minute."""
    now = timezone.localtime()
    monkeypatch.setattr(timezone, "localtime", lambda: now)


@pytest.mark.parametrize("chosen", [BuildSettings(), BuildSettings(tag="v1.0")], ids=["branch", "tag"])
def test_the_fortieth_build_of_a_minute_takes_no_more_than_one_look_more_than_the_second(repository, one_minute, chosen):
    """A look is one query for names and, where the tag follows from the minute, one for tags."""

    def queries():
        with CaptureQueriesContext(connection) as seen:
            record(repository, SOURCE, chosen, "ann", force=True)
        return len(seen)

    _, second, *more = [queries() for _ in range(40)]
    assert max(more) <= second + (1 if chosen.tag else 2)


def test_two_repositories_that_share_an_image_get_tags_of_their_own(repository):
    other = Repository.objects.create(repo_name="other", repo="https://git.example/o.git")
    first, _, _ = record(repository, SOURCE, BuildSettings(image="shared/app"), "ann")
    second, _, _ = record(other, SOURCE, BuildSettings(image="shared/app"), "ann")
    assert first.image == second.image
    assert first.image_tag != second.image_tag


def test_a_git_tag_becomes_the_images_tag(repository):
    event, _, _ = record(repository, SOURCE, BuildSettings(tag="v1.0"), "ann")
    assert event.image_tag == "v1.0"
    assert "buildv" in event.name


def test_the_same_tag_can_be_built_again_once_it_ended(repository):
    _, run, _ = record(repository, SOURCE, BuildSettings(tag="v1.0"), "ann")
    run.finish(Run.FAILED, reason="x")
    again, _, created = record(repository, SOURCE, BuildSettings(tag="v1.0"), "ann")
    assert created
    assert again.image_tag == "v1.0"


def test_the_same_build_is_returned_while_it_is_active(repository):
    first, run, _ = record(repository, SOURCE, BuildSettings(), "ann")
    assert record(repository, SOURCE, BuildSettings(branch="main", desc="words"), "bob") == (first, run, False)


@pytest.mark.parametrize("setting", ["dockerfile", "build_path", "image", "tag", "type", "ca_secret"])
def test_another_build_setting_is_another_build(repository, setting):
    record(repository, SOURCE, BuildSettings(), "ann")
    assert record(repository, SOURCE, BuildSettings(**{setting: "other"}), "ann")[2]


def test_force_builds_anew(repository):
    first, _, _ = record(repository, SOURCE, BuildSettings(), "ann")
    second, _, created = record(repository, SOURCE, BuildSettings(), "ann", force=True)
    assert created
    assert first != second


def test_a_forced_build_is_found_by_those_who_do_not_force(repository):
    forced, _, _ = record(repository, SOURCE, BuildSettings(), "ann", force=True)
    assert record(repository, SOURCE, BuildSettings(), "bob")[0] == forced


def test_the_run_carries_what_the_original_keeps(repository, settings):
    registry = settings.PORTAL.registry.model_copy(
        update={"address": "registry.example:5000", "repository": "team/ci", "username": "bot"}
    )
    settings.PORTAL = settings.PORTAL.model_copy(update={"registry": registry})
    _, run, _ = record(repository, SOURCE, BuildSettings(dockerfile="docker/Dockerfile", build_path="docker"), "ann")
    kept = (run.registory_add, run.image_repo, run.image_name, run.registry_name, run.registry_pass)
    assert kept == ("registry.example:5000", "team/ci", "prometh-exporter", "bot", "")
    assert (run.repo_path, run.repo_dockerfile, run.build_path) == ("https://git.example/p.git", "docker/Dockerfile", "docker")
    assert Event.objects.get().image == "registry.example:5000/team/ci/prometh-exporter"


def test_the_configured_login_is_not_meant_for_another_registry(repository, settings):
    registry = settings.PORTAL.registry.model_copy(update={"address": "registry.example", "username": "bot"})
    settings.PORTAL = settings.PORTAL.model_copy(update={"registry": registry})
    _, run, _ = record(repository, SOURCE, BuildSettings(image="elsewhere.example/team/app"), "ann")
    assert run.registry_name == ""
