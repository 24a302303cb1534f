"""Each of the four URLs answers on the row and on the collection, in JSON and as a form."""

import pytest

from events.models import Event
from logs.models import Log
from repos.models import Repository
from runners.models import Run

MODELS = {"repo": Repository, "event": Event, "job": Run, "log": Log}
TEXT = {"repo": "desc", "event": "Desc", "job": "desc", "log": "msg"}
COLUMN = {"repo": "desc", "event": "desc", "job": "desc", "log": "msg"}
NEEDED = {"repo": {"repo_name": "app"}, "event": {}, "job": {"status": "failed"}, "log": {}}

tables = pytest.mark.parametrize("table", ["repo", "event", "job", "log"])
formats = pytest.mark.parametrize("form", ["json", "multipart", "urlencoded"])


@pytest.fixture
def row(api, table):
    return api.post(f"/{table}/", NEEDED[table]).json()


def send(method, url, fields, form):
    if form == "urlencoded":
        body = "&".join(f"{name}={value}" for name, value in fields.items())
        return method(url, body, content_type="application/x-www-form-urlencoded")
    return method(url, fields, format=form)


@tables
@formats
def test_post_adds_a_row(api, table, form):
    answer = send(api.post, f"/{table}/", {**NEEDED[table], TEXT[table]: "words"}, form)
    assert answer.status_code == 201
    assert getattr(MODELS[table].objects.get(pk=answer.json()["id"]), COLUMN[table]) == "words"


@tables
@formats
def test_patch_on_the_row_changes_it(api, table, row, form):
    answer = send(api.patch, f"/{table}/{row['id']}/", {TEXT[table]: "new"}, form)
    assert (answer.status_code, answer.json()) == (200, {**row, TEXT[table]: "new"})


@tables
@formats
def test_patch_on_the_collection_takes_the_id_from_the_body(api, table, row, form):
    answer = send(api.patch, f"/{table}/", {"id": row["id"], TEXT[table]: "new"}, form)
    assert (answer.status_code, answer.json()) == (200, {**row, TEXT[table]: "new"})


@tables
def test_patch_on_the_collection_takes_the_id_from_the_query(api, table, row):
    answer = api.patch(f"/{table}/?id={row['id']}", {TEXT[table]: "new"})
    assert answer.json() == {**row, TEXT[table]: "new"}


@tables
def test_delete_on_the_row(api, table, row):
    assert api.delete(f"/{table}/{row['id']}/").status_code == 204
    assert not MODELS[table].objects.filter(pk=row["id"]).exists()


@tables
@formats
def test_delete_on_the_collection_takes_the_id_from_the_body(api, table, row, form):
    assert send(api.delete, f"/{table}/", {"id": row["id"]}, form).status_code == 204
    assert not MODELS[table].objects.filter(pk=row["id"]).exists()


@tables
def test_delete_on_the_collection_takes_the_id_from_the_query(api, table, row):
    assert api.delete(f"/{table}/?id={row['id']}").status_code == 204
    assert not MODELS[table].objects.filter(pk=row["id"]).exists()


@tables
@pytest.mark.parametrize("method", ["patch", "delete"])
def test_a_write_to_the_collection_without_an_id_is_refused(api, table, row, method):
    answer = getattr(api, method)(f"/{table}/", {})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, "id")
    assert MODELS[table].objects.filter(pk=row["id"]).exists()


@tables
def test_delete_refuses_fields_that_name_no_row(api, table, row):
    answer = api.delete(f"/{table}/", {"id": row["id"], TEXT[table]: ""})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, TEXT[table])


@tables
def test_a_body_with_another_id_than_the_path_is_refused(api, table, row):
    for method in (api.put, api.patch):
        answer = method(f"/{table}/{row['id']}/", {**NEEDED[table], "id": row["id"] + 1})
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, "id")


@tables
def test_a_row_can_be_read_and_put_back(api, table, row):
    assert api.put(f"/{table}/{row['id']}/", row).json() == row


@tables
def test_put_sets_what_it_does_not_name_back(api, table, row):
    api.patch(f"/{table}/{row['id']}/", {TEXT[table]: "words"})
    assert api.put(f"/{table}/{row['id']}/", NEEDED[table]).json() == row


@tables
def test_post_on_a_row_is_no_method(api, table, row):
    answer = api.post(f"/{table}/{row['id']}/", NEEDED[table])
    assert (answer.status_code, answer["Allow"]) == (405, "GET, PUT, PATCH, DELETE, HEAD, OPTIONS")


@tables
def test_put_on_a_collection_is_no_method(api, table):
    assert api.put(f"/{table}/", NEEDED[table]).status_code == 405


@tables
@pytest.mark.parametrize("method", ["get", "put", "patch", "delete"])
@pytest.mark.parametrize("key", ["2147483647", "99999999999999999999"])
def test_a_row_that_is_not_there_is_not_found(api, table, method, key):
    assert getattr(api, method)(f"/{table}/{key}/").status_code == 404


@tables
@pytest.mark.parametrize("key", [99999999999999999999, "-1", "1.5", "x"])
def test_an_id_in_a_body_that_names_no_row_is_not_found(api, table, key):
    assert api.delete(f"/{table}/", {"id": key}).status_code == 404


@tables
@pytest.mark.parametrize("key", [None, True, [1], {"a": 1}, 1.5])
def test_an_id_in_a_body_of_another_type_is_refused(api, table, key):
    assert api.patch(f"/{table}/", {"id": key}).json()["errors"][0]["field"] == "id"


@tables
def test_options_names_the_methods(api, table):
    answer = api.options(f"/{table}/")
    assert (answer.status_code, answer["Allow"]) == (204, "GET, POST, PATCH, DELETE, HEAD, OPTIONS")


@tables
def test_post_launches_nothing(api, table):
    api.post(f"/{table}/", NEEDED[table])
    assert not Run.objects.filter(managed=True).exists()
    assert not Event.objects.filter(managed=True).exists()


def test_a_posted_event_waits_by_default(api):
    assert api.post("/event/", {"name": "e"}).json()["status"] == "1"
