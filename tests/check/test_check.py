"""`POST /check/`: from a URL or name to a recorded event, in one request."""

import pytest

from events.models import Event
from logs.models import Log
from repos import smart_http
from repos.credentials import git_login
from repos.models import Credential, Repository
from runners.models import Run
from tests.check.conftest import TOKEN, USER

pytestmark = pytest.mark.django_db


def test_it_answers_202_with_the_events_location(check):
    answer = check()
    event = Event.objects.get()
    assert answer.status_code == 202, answer.content
    assert answer["Location"] == f"/event/{event.pk}/"
    assert answer.json()["event"]["id"] == event.pk
    assert answer.json()["job"]["name"] == Run.objects.get().name
    assert answer.json()["repo"]["repo_name"] == "app"


def test_it_registers_what_is_new_under_the_last_part_of_the_url(check, server):
    check()
    repository = Repository.objects.get()
    assert (repository.repo_name, repository.repo, repository.user) == ("app", server.url("team/app.git"), USER)


def test_it_stores_the_credentials_encrypted(check):
    check()
    assert git_login(Repository.objects.get()).password == TOKEN
    assert TOKEN not in Credential.objects.get().ciphertext


def test_it_resolves_the_head_to_a_commit(check, app):
    check()
    event, run = Event.objects.get(), Run.objects.get()
    assert (event.ref, event.commit) == ("refs/heads/main", app.git("rev-parse", "main"))
    assert (run.ref, run.commit) == (event.ref, event.commit)


def test_it_builds_the_branch_that_it_is_asked_for(check, app):
    check(branch="next")
    assert Event.objects.get().commit == app.git("rev-parse", "next")


def test_a_tag_names_commit_and_image(check, app):
    check(tag="v1.0")
    event = Event.objects.get()
    assert (event.ref, event.commit, event.image_tag) == ("refs/tags/v1.0", app.git("rev-parse", "v1.0^{commit}"), "v1.0")


def test_a_branch_in_the_request_sets_the_repositorys_tag_aside(check, app, server):
    Repository.objects.create(repo_name="app", repo=server.url("team/app.git"), tag="v1.0")
    check(branch="next")
    assert Event.objects.get().commit == app.git("rev-parse", "next")


def test_a_registered_name_is_enough(check):
    check()
    Run.objects.get().finish(Run.FAILED, reason="x")
    answer = check(repo="app", user=None, token=None)
    assert answer.status_code == 202, answer.content
    assert Event.objects.count() == 2


def test_a_url_that_is_registered_under_another_name_is_that_repository(check, server):
    Repository.objects.create(repo_name="mine", repo=server.url("team/app.git"))
    check()
    assert Repository.objects.count() == 1
    assert Event.objects.get().repo == "mine"


def test_a_name_that_is_taken_gets_a_hash(check):
    Repository.objects.create(repo_name="app", repo="https://elsewhere.example/app.git")
    check()
    assert Event.objects.get().repo.startswith("app-")


def test_a_bare_name_is_looked_up_below_the_configured_base(check, server, settings):
    git = settings.PORTAL.git.model_copy(update={"base_url": server.url("team")})
    settings.PORTAL = settings.PORTAL.model_copy(update={"git": git})
    assert check(repo="app").status_code == 202
    assert Repository.objects.get().repo == server.url("team/app.git")


def test_a_url_elsewhere_does_not_take_a_bare_name(check, server, settings):
    """Else a later check of the bare name would send its credentials there."""
    git = settings.PORTAL.git.model_copy(update={"base_url": "https://git.example/team"})
    settings.PORTAL = settings.PORTAL.model_copy(update={"git": git})
    assert check().status_code == 202
    assert Repository.objects.get().repo_name.startswith("app-")


def test_credentials_in_the_url_are_split_off(check, server):
    url = server.url("team/app.git").replace("https://", f"https://{USER}:s3cret-token-f%C3%BCr-git@")
    answer = check(repo=url, user=None, token=None)
    assert answer.status_code == 202, answer.content
    assert Repository.objects.get().repo == server.url("team/app.git")
    assert git_login(Repository.objects.get()).password == TOKEN
    assert "s3cret" not in answer.content.decode()


def test_the_same_build_is_answered_with_200_and_the_same_event(check):
    first, second = check(), check()
    assert (first.status_code, second.status_code) == (202, 200)
    assert first.json()["event"]["id"] == second.json()["event"]["id"]
    assert Run.objects.count() == 1


def test_force_builds_anew(check):
    first, second = check(), check(force=True)
    assert second.status_code == 202
    assert first.json()["event"]["id"] != second.json()["event"]["id"]


def test_settings_of_the_request_are_this_checks_alone(check):
    check()
    check(repo="app", dockerfile="docker/Dockerfile", build_path="docker")
    run = Run.objects.first()
    assert (run.repo_dockerfile, run.build_path) == ("docker/Dockerfile", "docker")
    assert Repository.objects.get().dockerfile == ""


def test_the_history_tells_registration_credentials_and_event(check):
    check()
    told = list(Log.objects.order_by("id").values_list("msg", "actor"))
    assert [actor for _, actor in told] == [USER] * 3
    assert told[0][0].startswith("repository registered: https://")
    assert told[1][0] == "git credentials set"
    assert told[2][0].startswith("event event-app-buildv")


def test_a_form_is_as_good_as_json(client, server):
    answer = client.post("/check/", {"repo": server.url("team/app.git"), "user": USER, "token": TOKEN, "force": "true"})
    assert answer.status_code == 202, answer.content


def test_get_is_not_allowed(client):
    answer = client.get("/check/")
    assert answer.status_code == 405
    assert answer["Content-Type"] == "application/problem+json"


def test_the_remote_is_asked_once(check, server):
    """What it speaks need not be asked again."""
    smart_http._formats.clear()
    before = len(server.asked("team/app.git"))
    check()
    check(force=True)
    asked = [step for step, status in server.asked("team/app.git")[before:] if status == 200]
    assert asked == ["refs", "git-upload-pack", "git-upload-pack"]


def test_an_idempotency_key_gives_the_first_answer_again(check):
    first = check({"Idempotency-Key": "abc"})
    Run.objects.get().finish(Run.FAILED, reason="x")
    second = check({"Idempotency-Key": "abc"})
    assert (first.status_code, second.status_code) == (202, 202)
    assert second.json()["event"]["id"] == first.json()["event"]["id"]
    assert Event.objects.count() == 1


def test_an_idempotency_key_with_another_body_is_refused(check):
    check({"Idempotency-Key": "abc"})
    answer = check({"Idempotency-Key": "abc"}, branch="next")
    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")


def test_other_keys_are_other_checks(check):
    check({"Idempotency-Key": "abc"})
    assert check({"Idempotency-Key": "def"}).status_code == 200


def test_a_failed_check_does_not_use_up_its_key(check):
    assert check({"Idempotency-Key": "abc"}, token="wrong").status_code == 422
    assert check({"Idempotency-Key": "abc"}).status_code == 202


def test_stored_credentials_that_no_key_opens_are_named(check, settings):
    check()
    Credential.objects.update(ciphertext="gAAAAABnothing")
    answer = check(repo="app", user=None, token=None)
    assert (answer.status_code, answer.json()["code"]) == (409, "credentials_unreadable")
    assert "secrets.keys" in answer.json()["detail"]
