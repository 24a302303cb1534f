"""Credentials that come with a request are split off, stored encrypted, never answered, and never sent to another server."""

import time

import pytest
from django.core.serializers import serialize

from ci_portal.api.texts import without_logins
from logs.models import Log
from repos.credentials import decrypt, git_login
from repos.models import Credential, Repository
from runners.models import Run

SECRET = "s3cret-T0ken/with+signs"
ENCODED = "s3cret-T0ken%2Fwith%2Bsigns"
URL = "https://git.example.com/team/app.git"
KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nc2VjcmV0\n-----END OPENSSH PRIVATE KEY-----\n"


def stored_text():
    """Everything that the database holds of the API's tables."""
    return "".join(serialize("json", model.objects.all(), ensure_ascii=False) for model in (Repository, Run, Log, Credential))


def login(name="app"):
    return git_login(Repository.objects.get(repo_name=name))


@pytest.fixture
def app(api):
    return api.post("/repo/", {"repo_name": "app", "repo": f"https://alice:{ENCODED}@git.example.com/team/app.git"})


def test_a_login_in_the_url_is_split_off_and_stored(app):
    assert app.json()["repo"] == URL
    assert app.json()["has_credentials"] is True
    assert (login().username, login().password) == ("alice", SECRET)


def test_no_secret_is_in_an_answer_or_in_the_clear_in_the_database(api, app):
    answers = app.content + api.get("/repo/").content + api.get("/repo/app/").content + api.get("/log/").content
    for text in (answers.decode(), stored_text()):
        assert SECRET not in text
        assert ENCODED not in text


def test_a_token_as_user_name_is_a_secret_too(api):
    answer = api.post("/repo/", {"repo_name": "app", "repo": f"https://{ENCODED}@git.example.com/team/app.git"})
    assert answer.json()["repo"] == URL
    assert login().username == SECRET


def test_the_write_only_fields_store_a_login(api):
    answer = api.post("/repo/", {"repo_name": "app", "repo": URL, "git_user": "bob", "git_token": SECRET})
    assert not {"git_user", "git_token", "deploy_key"} & set(answer.json())
    assert (login().username, login().password) == ("bob", SECRET)


def test_the_write_only_fields_win_over_the_url(api):
    api.post("/repo/", {"repo_name": "app", "repo": "https://a:old@git.example.com/x", "git_user": "bob", "git_token": "new"})
    assert (login().username, login().password) == ("bob", "new")


def test_empty_write_only_fields_of_a_form_leave_the_urls_login(api):
    body = {"repo_name": "app", "repo": "https://bob:token@git.example.com/x", "git_user": "", "git_token": ""}
    api.post("/repo/", body, format="multipart")
    assert (login().username, login().password) == ("bob", "token")


def test_half_of_a_login_keeps_the_other_half(api, app):
    api.patch("/repo/app/", {"git_token": "fresh"})
    assert (login().username, login().password) == ("alice", "fresh")


def test_empty_credentials_remove_the_stored_ones(api, app):
    assert api.patch("/repo/app/", {"git_user": "", "git_token": None}).json()["has_credentials"] is False
    assert not login()


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example.com/team/app.git",
        "https://git.example.com:8443/team/app.git",
        "ssh://git@git.example.com/team/app.git",
    ],
)
@pytest.mark.parametrize("method", ["patch", "put"])
def test_another_server_gets_no_stored_credential(api, app, url, method):
    answer = getattr(api, method)("/repo/app/", {"repo_name": "app", "repo": url})
    assert answer.json()["has_credentials"] is False
    assert not login()


def test_another_server_with_half_a_login_does_not_get_the_other_half(api, app):
    api.patch("/repo/app/", {"repo": "https://evil.example.com/app", "git_user": "mallory"})
    assert (login().username, login().password) == ("mallory", "")


def test_another_server_with_its_own_login_gets_that(api, app):
    api.patch("/repo/app/", {"repo": "https://carol:other@new.example.com/app"})
    assert (login().username, login().password) == ("carol", "other")


@pytest.mark.parametrize("url", ["https://GIT.example.com/team/renamed.git", "https://git.example.com:443/team/app"])
def test_another_path_on_the_same_server_keeps_the_credentials(api, app, url):
    api.patch("/repo/app/", {"repo": url})
    assert login().password == SECRET


def test_put_keeps_the_credentials(api, app):
    assert api.put("/repo/app/", app.json()).json()["has_credentials"] is True


def test_a_deploy_key_is_stored_and_removed(api):
    api.post("/repo/", {"repo_name": "app", "repo": "git@git.example.com:team/app.git", "deploy_key": KEY})
    assert login().ssh_key == KEY
    assert api.patch("/repo/app/", {"deploy_key": ""}).json()["has_credentials"] is False


def test_a_refused_deploy_key_is_not_repeated(api):
    answer = api.post("/repo/", {"repo_name": "app", "deploy_key": "-----BEGIN c2VjcmV0"})
    assert answer.status_code == 400
    assert "c2VjcmV0" not in answer.content.decode()


def test_an_ssh_url_with_a_password_is_refused_without_repeating_it(api):
    answer = api.post("/repo/", {"repo_name": "app", "repo": f"ssh://git:{ENCODED}@git.example.com/app"})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, "repo")
    assert ENCODED not in answer.content.decode()


def test_a_refused_url_is_not_repeated(api):
    answer = api.post("/repo/", {"repo_name": "app", "repo": f"ftp://alice:{ENCODED}@git.example.com/app"})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, "repo")
    assert ENCODED not in answer.content.decode()


def test_history_says_that_credentials_changed_and_not_to_what(api, app):
    api.patch("/repo/app/", {"git_token": "fresh"})
    api.patch("/repo/app/", {"repo": "https://new.example.com/app"})
    assert [entry.msg for entry in Log.objects.order_by("id")] == [
        f"repository app added: repo_name: app; repo: {URL}; git credentials set",
        "repository app changed: git credentials replaced",
        f"repository app changed: repo: {URL} → https://new.example.com/app; git credentials removed",
    ]


def test_credentials_that_no_key_opens_are_an_error_where_half_of_them_is_kept(api, app):
    Credential.objects.update(ciphertext="garbage")
    answer = api.patch("/repo/app/", {"git_token": "fresh"})
    assert (answer.status_code, answer.json()["code"]) == (409, "credentials_unreadable")
    assert api.patch("/repo/app/", {"git_user": "bob", "git_token": "fresh"}).status_code == 200


def test_a_registry_password_is_stored_beside_the_run(api):
    answer = api.post("/job/", {"status": "failed", "REGISTRY_NAME": "pusher", "REGISTRY_PASS": SECRET})
    run = Run.objects.get(pk=answer.json()["id"])
    assert "REGISTRY_PASS" not in answer.json()
    assert run.registry_pass == ""
    assert SECRET not in stored_text()
    assert decrypt(run.credentials.get(kind=Credential.REGISTRY).ciphertext, "password") == {
        "username": "pusher",
        "password": SECRET,
    }


def test_a_registry_password_is_removed_by_an_empty_one(api):
    row = api.post("/job/", {"status": "failed", "REGISTRY_PASS": SECRET}).json()
    api.patch(f"/job/{row['id']}/", {"REGISTRY_PASS": ""})
    assert not Credential.objects.exists()


def test_a_login_in_repo_path_is_split_off_and_stored(api):
    row = api.post("/job/", {"status": "failed", "REPO_PATH": f"https://alice:{ENCODED}@git.example.com/app"}).json()
    assert row["REPO_PATH"] == "https://git.example.com/app"
    assert decrypt(Credential.objects.get(run=row["id"], kind=Credential.GIT).ciphertext, "login")["password"] == SECRET


@pytest.mark.parametrize(
    ("table", "fields"),
    [
        ("event", {"repo": f"https://alice:{ENCODED}@git.example.com/app"}),
        ("event", {"repo": "https://alice:s3cret-T0ken%2Fwith%2Bsigns/and/slashes@git.example.com/app"}),
        ("event", {"Desc": f"from https://alice:{ENCODED}@git.example.com/app"}),
        ("job", {"status": "failed", "desc": f"from https://{ENCODED}@git.example.com/app"}),
        ("log", {"msg": f"cloned ssh://git:{ENCODED}@git.example.com/app\nagain"}),
        ("repo", {"repo_name": "b", "desc": f"see HTTPS://alice:{ENCODED}@git.example.com/app"}),
    ],
)
def test_a_login_in_any_other_text_is_taken_out(api, table, fields):
    answer = api.post(f"/{table}/", fields)
    assert answer.status_code == 201
    assert ENCODED not in answer.content.decode() + stored_text()


@pytest.mark.parametrize("text", ["a" * 16000, "a://" * 4000, "http" * 4000, "https://" + "a" * 15000, "https://a:" * 1600])
def test_looking_for_logins_takes_one_pass(text):
    started = time.process_time()
    without_logins(text)
    assert time.process_time() - started < 0.5


def test_deleting_a_repository_deletes_its_credentials(api, app):
    api.delete("/repo/app/")
    assert not Credential.objects.exists()
