"""What the portal runs itself changes state only through it."""

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage

from events.models import Event
from logs.models import Log, Output
from repos.models import Repository
from runners.models import Run


@pytest.fixture
def url(managed_event, table):
    return f"/event/{managed_event.pk}/" if table == "event" else f"/job/{managed_event.runs.get().pk}/"


tables = pytest.mark.parametrize("table", ["event", "job"])


@tables
@pytest.mark.parametrize("fields", [{"status": "3"}, {"name": "x"}, {"ctime": "20211125 151700"}, {"type": "x"}])
def test_a_change_of_a_managed_row_is_a_conflict(api, url, table, fields):
    if table == "job" and "status" in fields:
        fields = {"status": "succeeded"}
    before = api.get(url).json()
    answer = api.patch(url, fields)
    assert (answer.status_code, answer.json()["code"]) == (409, "managed")
    assert api.get(url).json() == before


def test_a_registry_password_for_a_managed_run_is_a_conflict(api, managed_event):
    assert api.patch(f"/job/{managed_event.runs.get().pk}/", {"REGISTRY_PASS": "x"}).status_code == 409


@tables
def test_the_description_of_a_managed_row_can_be_changed(api, url, table):
    field = "Desc" if table == "event" else "desc"
    assert api.patch(url, {field: "the one that failed"}).json()[field] == "the one that failed"


@tables
def test_a_managed_row_can_be_put_back_as_it_was_read(api, url, table):
    row = api.get(url).json()
    assert api.put(url, row).json() == row


@tables
def test_an_active_managed_row_can_not_be_deleted(api, url, table):
    answer = api.delete(url)
    assert (answer.status_code, answer.json()["code"]) == (409, "active")
    assert api.get(url).status_code == 200
    assert not Log.objects.exists()


@tables
def test_a_finished_managed_row_can_be_deleted(api, url, table):
    Event.objects.update(status=Event.FAILED)
    Run.objects.update(status=Run.FAILED)
    assert api.delete(url).status_code == 204
    assert Event.objects.count() == (0 if table == "event" else 1)
    assert not Run.objects.exists()


@tables
def test_the_archived_output_of_a_deleted_row_goes_too(api, url, table, managed_event, django_capture_on_commit_callbacks):
    Event.objects.update(status=Event.FAILED)
    Run.objects.update(status=Run.FAILED)
    name = default_storage.save("archived-output.gz", ContentFile(b"x"))
    Output.objects.create(run=managed_event.runs.get(), archive=name)
    with django_capture_on_commit_callbacks(execute=True):
        assert api.delete(url).status_code == 204
    assert not Output.objects.exists()
    assert not default_storage.exists(name)


def test_a_recorded_row_changes_freely(api):
    row = api.post("/event/", {"status": "2"}).json()
    assert api.patch(f"/event/{row['id']}/", {"status": 4}).json()["status_label"] == "failed"
    assert api.delete(f"/event/{row['id']}/").status_code == 204


def test_a_repository_with_an_active_event_can_not_be_deleted(api, managed_event):
    answer = api.delete("/repo/prometh_exporter/")
    assert (answer.status_code, answer.json()["event"]) == (409, managed_event.pk)
    assert Repository.objects.exists()


def test_a_deleted_repository_leaves_its_events(api, managed_event):
    Event.objects.update(status=Event.FAILED)
    assert api.delete("/repo/prometh_exporter/").status_code == 204
    row = api.get(f"/event/{managed_event.pk}/").json()
    assert (row["repo"], row["repository"]) == ("prometh_exporter", None)
