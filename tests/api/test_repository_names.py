"""`repo_name` works wherever `id` does for /repo/."""

import pytest

from repos.models import Repository


@pytest.mark.parametrize("name", ["prometh_exporter", "team/app", "a/b/c", "仓库", "7up", "v1.2+x~y"])
def test_a_path_segment_that_is_not_digits_is_a_repo_name(api, name):
    row = api.post("/repo/", {"repo_name": name}).json()
    assert api.get(f"/repo/{name}/").json() == row


def test_an_encoded_slash_in_a_path_is_read_as_one(api):
    row = api.post("/repo/", {"repo_name": "team/app"}).json()
    assert api.get("/repo/team%2Fapp/").json() == row


def test_patch_and_delete_on_the_named_row(api):
    api.post("/repo/", {"repo_name": "team/app"})
    assert api.patch("/repo/team/app/", {"branch": "dev"}).json()["branch"] == "dev"
    assert api.delete("/repo/team/app/").status_code == 204


@pytest.mark.parametrize("naming", ["query", "body", "id in query", "id in body"])
def test_a_name_on_the_collection_names_the_row(api, naming):
    api.post("/repo/", {"repo_name": "app"})
    query = {"query": "?repo_name=app", "id in query": "?id=app"}.get(naming, "")
    body = {"body": {"repo_name": "app"}, "id in body": {"id": "app"}}.get(naming, {})
    assert api.patch(f"/repo/{query}", {**body, "branch": "dev"}).json()["branch"] == "dev"
    assert api.delete(f"/repo/{query}", body).status_code == 204


def test_beside_an_id_the_repo_name_in_a_body_is_the_new_name(api):
    row = api.post("/repo/", {"repo_name": "app"}).json()
    assert api.patch("/repo/", {"id": row["id"], "repo_name": "renamed"}).json() == {**row, "repo_name": "renamed"}


def test_beside_a_query_the_repo_name_in_a_body_is_the_new_name(api):
    row = api.post("/repo/", {"repo_name": "app"}).json()
    assert api.patch("/repo/?repo_name=app", {"repo_name": "renamed"}).json() == {**row, "repo_name": "renamed"}


def test_a_query_that_names_two_rows_is_refused(api):
    assert api.patch("/repo/?id=1&repo_name=app", {}).status_code == 400


def test_an_adopted_name_of_digits_is_reached_through_repo_name(api):
    Repository.objects.create(repo_name="2048")
    assert api.get("/repo/2048/").status_code == 404
    assert api.delete("/repo/?repo_name=2048").status_code == 204


@pytest.mark.parametrize(
    "name", ["42", "/app", "app/", "a//b", "a/../b", ".", "..", "a?b", "a#b", "a%2fb", "a\\b", "a\nb", "", "x" * 151]
)
def test_a_name_that_no_path_could_lead_to_is_refused(api, name):
    answer = api.post("/repo/", {"repo_name": name})
    assert (answer.status_code, [error["field"] for error in answer.json()["errors"]]) == (400, ["repo_name"])


def test_a_name_is_required(api):
    assert api.post("/repo/", {"branch": "main"}).json()["errors"] == [
        {"field": "repo_name", "message": "This field is required.", "code": "required"}
    ]


def test_a_name_can_be_taken_once(api):
    api.post("/repo/", {"repo_name": "app"})
    answer = api.post("/repo/", {"repo_name": "app"})
    assert (answer.status_code, answer.json()["errors"][0]["field"], answer.json()["errors"][0]["code"]) == (
        400,
        "repo_name",
        "unique",
    )


def test_a_new_name_goes_to_the_events_and_history_of_the_repository(api, managed_event):
    api.patch("/repo/prometh_exporter/", {"repo_name": "exporter"})
    assert api.get(f"/event/{managed_event.pk}/").json()["repo"] == "exporter"
    api.patch("/repo/exporter/", {"branch": "dev"})
    assert api.get("/log/?Repo_name=exporter").json()["count"] == 2
