"""Each write leaves a line of history that says what changed, by whom, in the same transaction."""

import pytest
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from events.models import Event
from logs.models import Log
from repos.models import Repository


def last(api):
    return api.get("/log/").json()["results"][0]


def test_a_change_says_old_and_new(api, repository):
    api.patch("/repo/prometh_exporter/", {"branch": "dev", "tag": "v1", "desc": ""})
    assert last(api)["msg"] == "repository prometh_exporter changed: branch: main → dev; tag: (empty) → v1"
    assert last(api)["Repo_name"] == "prometh_exporter"


def test_a_write_that_changes_nothing_leaves_no_line(api, repository):
    api.patch("/repo/prometh_exporter/", {"branch": "main"})
    assert api.get("/log/").json()["count"] == 0


def test_a_refused_write_leaves_no_line(api, repository):
    api.patch("/repo/prometh_exporter/", {"branch": "a b"})
    assert api.get("/log/").json()["count"] == 0


def test_a_long_value_is_cut(api):
    api.post("/event/", {"name": "e", "Desc": "x" * 300})
    assert last(api)["msg"] == f"event e added: name: e; Desc: {'x' * 200}…"


def test_a_recorded_event_is_tied_to_the_repository_it_names(api, repository):
    row = api.post("/event/", {"name": "e", "repo": "prometh_exporter"}).json()
    assert row["repository"] == repository.pk
    assert (last(api)["Repo_name"], last(api)["event_uuid"]) == ("prometh_exporter", row["id"])


def test_a_recorded_event_that_names_another_repository_moves_there(api, repository):
    row = api.post("/event/", {"name": "e", "repo": "elsewhere"}).json()
    assert row["repository"] is None
    assert api.patch(f"/event/{row['id']}/", {"repo": "prometh_exporter"}).json()["repository"] == repository.pk


def test_a_recorded_run_is_tied_to_itself(api):
    row = api.post("/job/", {"name": "j", "status": "failed"}).json()
    assert (last(api)["Runner_uuid"], last(api)["msg"]) == (row["id"], "run j added: name: j; status: failed")


@pytest.mark.parametrize(
    ("table", "fields"), [("repo", {"repo_name": "app"}), ("event", {"name": "app"}), ("job", {"name": "app", "status": "failed"})]
)
def test_a_deletion_is_told_and_the_history_stays(api, table, fields):
    row = api.post(f"/{table}/", fields).json()
    api.delete(f"/{table}/{row['id']}/")
    assert api.get("/log/").json()["count"] == 2
    assert last(api)["msg"].endswith("app deleted")


def test_a_posted_line_is_itself_the_history(api):
    api.post("/log/", {"msg": "deployed"})
    assert [entry["msg"] for entry in api.get("/log/").json()["results"]] == ["deployed"]


def test_changing_history_is_history(api, repository):
    row = api.post("/log/", {"msg": "deployed", "Repo_name": "prometh_exporter"}).json()
    api.patch(f"/log/{row['id']}/", {"msg": "rolled back"})
    assert last(api)["msg"] == f"log entry {row['id']} changed: msg: deployed → rolled back"
    assert last(api)["Repo_name"] == "prometh_exporter"


def test_deleting_history_is_history(api):
    row = api.post("/log/", {"msg": "deployed"}).json()
    api.delete(f"/log/{row['id']}/")
    assert [entry["msg"] for entry in api.get("/log/").json()["results"]] == [f"log entry {row['id']} deleted"]


def test_who_did_it_is_the_user_that_logged_in(db):
    api = APIClient()
    api.force_authenticate(User.objects.create_user("alice"))
    row = api.post("/repo/", {"repo_name": "app"}).json()
    assert (row["user"], last(api)["actor"]) == ("alice", "alice")
    assert api.post("/event/", {"name": "e"}).json()["created_by"] == "alice"
    assert api.post("/log/", {"msg": "m"}).json()["actor"] == "alice"


def test_who_created_a_repository_can_be_said(api):
    assert api.post("/repo/", {"repo_name": "app", "user": "bob"}).json()["user"] == "bob"


def test_change_and_history_are_one_transaction(api, repository, monkeypatch):
    def fails(*args, **kwargs):
        raise RuntimeError("no history")

    monkeypatch.setattr("logs.models.LogQuerySet.record", fails)
    api.raise_request_exception = False
    answers = [
        api.patch("/repo/prometh_exporter/", {"branch": "dev"}),
        api.delete("/repo/prometh_exporter/"),
        api.post("/event/", {"name": "e"}),
    ]
    assert [answer.status_code for answer in answers] == [500, 500, 500]
    assert Repository.objects.get().branch == "main"
    assert not Event.objects.exists()
    assert not Log.objects.exists()
