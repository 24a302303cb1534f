"""What is old or too much goes, with all that belongs to it; what is active, and what people still look for, stays."""

import os
from datetime import timedelta

import pytest
from django.core.files.storage import default_storage
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from events.models import Event, IdempotencyKey
from logs.archive import archive
from logs.models import Log, Output, OutputChunk, OutputStream
from logs.output import Recorder
from repos.credentials import store
from repos.models import Credential, Repository
from runners.housekeeping import prune, tallied
from runners.models import Run
from tests.local.test_prune import layout
from tests.support import rows

pytestmark = pytest.mark.django_db
NOW = timezone.now()


@pytest.fixture(autouse=True)
def folder(monkeypatch, settings, tmp_path):
    """Where local builds work and leave their images."""
    monkeypatch.setattr("runners.housekeeping.LONGEST_REST", 0)
    build = settings.PORTAL.build.model_copy(update={"folder": str(tmp_path)})
    settings.PORTAL = settings.PORTAL.model_copy(update={"build": build})
    return tmp_path


@pytest.fixture
def keep(settings):
    """Configure what is kept: keep(event_days=90)."""

    def configure(section="retention", **keys):
        changed = getattr(settings.PORTAL, section).model_copy(update=keys)
        settings.PORTAL = settings.PORTAL.model_copy(update={section: changed})

    return configure


def ended(of, days_ago, status="4", printed=b"", **columns):
    """An event that ended so many days ago, its run, and what that printed."""
    at = NOW - timedelta(days=days_ago)
    number = Event.objects.count()
    event = rows.event(of, status=status, finished_at=at, image_tag=f"v{number}", **columns)
    run = rows.run(event, finished_at=at)
    if printed:
        recorder = Recorder(run.pk, ("build",), [])
        recorder.append("build", printed, "1")
        recorder.close(run.status)
        Output.objects.filter(run=run).update(closed_at=at)
    return event


def gone(**options):
    return sorted(item.key for item in prune(NOW, **options))


def left():
    return sorted(Event.objects.values_list("pk", flat=True))


# Events by age


def test_an_event_goes_with_all_that_belongs_to_it(keep):
    keep(event_days=90)
    app = rows.repository("app")
    old, last = ended(app, 91, printed=b"old"), ended(app, 1, printed=b"new")
    archive(Output.objects.get(run__event=old))
    name = Output.objects.get(run__event=old).archive
    IdempotencyKey.objects.create(key="k", request="r", event=old, status=202)
    store(Credential.REGISTRY, {"username": "u", "password": "p"}, run=old.runs.get())
    assert gone() == [old.pk]
    assert left() == [last.pk]
    assert Run.objects.get().event_id == last.pk
    assert [model.objects.count() for model in (Output, OutputStream, OutputChunk)] == [1, 1, 1]
    assert not IdempotencyKey.objects.exists()
    assert not Credential.objects.exists()
    assert not default_storage.exists(name)


def test_nothing_is_removed_unless_it_is_configured():
    app = rows.repository("app")
    ended(app, 1000), ended(app, 999)
    assert gone() == []


@pytest.mark.parametrize("status", ["1", "2"])
def test_what_is_active_is_never_removed(keep, status):
    keep(event_days=1, event_count=1)
    app = rows.repository("app")
    active = rows.event(app, status=status, finished_at=None)
    Event.objects.filter(pk=active.pk).update(ctime=NOW - timedelta(days=400))
    rows.run(active, status="running")
    ended(app, 0.5, "3"), ended(app, 0.1, "3")
    gone()
    assert active.pk in left()


@pytest.mark.parametrize("run", [{"status": "running"}, {"status": "failed", "epoch": 1, "tidied_at": None}])
def test_an_event_stays_while_the_backend_may_hold_something_of_it(keep, run):
    keep(event_days=1)
    app = rows.repository("app")
    busy = ended(app, 9)
    ended(app, 0)
    Run.objects.filter(event=busy).update(**run)
    assert gone() == []


def test_the_last_event_of_a_repository_and_its_last_success_stay_however_old_they_are(keep):
    keep(event_days=90)
    app = rows.repository("app")
    first, success, failure, last = (ended(app, 400 - n, status) for n, status in enumerate("3344"))
    assert gone() == [first.pk, failure.pk]
    assert left() == [success.pk, last.pk]


def test_events_of_a_repository_that_is_gone_all_go(keep):
    keep(event_days=90)
    app = rows.repository("app")
    old = ended(app, 91, "3")
    Repository.objects.all().delete()
    assert gone() == [old.pk]


# Events by count


def test_the_newest_of_each_repository_stay(keep):
    keep(event_count=2)
    app, other = rows.repository("app"), rows.repository("other")
    events = [ended(app, 9 - n, "3") for n in range(5)]
    ended(other, 9)
    assert gone() == [event.pk for event in events[:3]]


def test_what_goes_by_age_is_not_counted_twice(keep):
    keep(event_count=1, event_days=5)
    app = rows.repository("app")
    events = [ended(app, 9 - n, "3") for n in range(8)]
    found = [item.key for item in prune(NOW, dry_run=True)]
    assert sorted(found) == sorted(set(found)) == [event.pk for event in events[:-1]]


def test_an_event_that_ended_just_now_stays_for_those_who_wait_for_its_outcome(keep):
    keep(event_count=1)
    app = rows.repository("app")
    ended(app, 1 / 48), ended(app, 1 / 96)
    assert gone() == []


# Records from elsewhere


def test_records_from_elsewhere_go_by_age_if_that_is_configured(keep):
    record = rows.event(managed=False, status="2")
    run = rows.run(record, managed=False, event=None, uid=None, status="running")
    store(Credential.REGISTRY, {"username": "u", "password": "p"}, run=run)
    Event.objects.update(ctime=NOW - timedelta(days=400))
    Run.objects.update(ctime=NOW - timedelta(days=400))
    keep(event_days=1, event_count=1)
    assert gone() == []
    keep(record_days=401)
    assert gone() == []
    keep(record_days=399)
    assert gone() == sorted([record.pk, run.pk])
    assert not Run.objects.exists()
    assert not Credential.objects.exists()


def test_a_record_without_a_time_stays(keep):
    keep(record_days=1)
    rows.event(managed=False)
    Event.objects.update(ctime=None)
    assert gone() == []


# History and idempotency keys


def test_history_goes_by_age_but_not_that_of_what_is_active(keep):
    keep(log_days=365)
    active = rows.event(rows.repository("app"), status="1", finished_at=None)
    old, kept, young = Log.objects.record("old"), Log.objects.record("kept", event=active), Log.objects.record("young")
    Log.objects.exclude(pk=young.pk).update(create_at=NOW - timedelta(days=366))
    assert gone() == [old.pk]
    assert sorted(Log.objects.values_list("pk", flat=True)) == [kept.pk, young.pk]


def test_idempotency_keys_are_forgotten_after_a_day():
    event = rows.event(rows.repository("app"), status="1")
    keys = [IdempotencyKey.objects.create(key=f"k{n}", request="r", event=event, status=202) for n in range(2)]
    IdempotencyKey.objects.filter(pk=keys[0].pk).update(created_at=NOW - timedelta(hours=25))
    assert gone() == [keys[0].pk]
    assert left() == [event.pk]


# Images on disk


def image(folder, days_ago, **columns):
    """A local build without a registry that succeeded so many days ago, and its image."""
    run = ended(days_ago=days_ago, status="3", **columns).runs.get()
    Run.objects.filter(pk=run.pk).update(backend="local", registory_add="")
    place = layout(folder / "images" / "team/exporter" / run.image_tag, 0)
    at = (NOW - timedelta(days=days_ago)).timestamp()
    os.utime(place / "index.json", (at, at))
    return place


def test_images_on_disk_go_by_age_but_not_the_newest_nor_the_last_success_of_a_repository(keep, folder):
    keep(image_days=30)
    old, last = image(folder, 50, of=None), image(folder, 40, of=rows.repository("app"))
    image(folder, 35, of=None)
    (item,) = prune(NOW, dry_run=True)
    assert (item.kind, item.repository, item.name, item.why) == ("images", "team/exporter", old.name, "older than 30 days")
    assert item.size > 0
    assert old.exists()
    assert len(list(prune(NOW))) == 1
    assert not old.exists()
    assert last.exists()


def test_an_image_that_is_being_built_stays(keep, folder):
    keep(image_count=1)
    old = image(folder, 50, of=None)
    image(folder, 40, of=None)
    Run.objects.filter(image_tag=old.name).update(status="running")
    assert not list(prune(NOW))


# How it goes about it


def test_a_dry_run_tells_what_a_prune_then_removes(keep):
    keep(event_days=90, record_days=90, log_days=90)
    keep("output", retention_days=10)
    app = rows.repository("app")
    for days in (95, 94, 93, 20, 19, 1):
        ended(app, days, "3", printed=b"x" * days)
    record = rows.event(managed=False)
    Event.objects.filter(pk=record.pk).update(ctime=NOW - timedelta(days=91))
    Log.objects.record("old")
    Log.objects.update(create_at=NOW - timedelta(days=91))
    told = tallied(prune(NOW, dry_run=True))
    assert Event.objects.count() == 7
    assert [(t.kind, t.repository, t.why, t.count, t.size) for t in told] == [
        ("events", "app", "older than 90 days", 3, 95 + 94 + 93),
        ("records", "", "older than 90 days", 1, 0),
        ("output", "app", "older than 10 days", 2, 20 + 19),
        ("history", "", "older than 90 days", 1, 0),
    ]
    assert (told[0].oldest, told[0].newest) == (NOW - timedelta(days=95), NOW - timedelta(days=93))
    assert tallied(prune(NOW)) == told
    assert tallied(prune(NOW)) == []


def test_only_the_kinds_that_are_asked_for_go(keep):
    keep(event_days=90, log_days=90)
    app = rows.repository("app")
    ended(app, 91), ended(app, 1)
    line = Log.objects.record("old")
    Log.objects.update(create_at=NOW - timedelta(days=91))
    assert gone(only=["history"]) == [line.pk]


def test_history_has_one_line_for_a_repository_however_many_batches_there_are(keep, monkeypatch):
    monkeypatch.setattr("logs.retention.BATCH", 2)
    keep(event_days=90)
    for name in ("app", "other"):
        repository = rows.repository(name)
        for _ in range(5):
            ended(repository, 91)
    gone()
    assert sorted(Log.objects.values_list("repository_id", "msg")) == [
        ("app", "4 events older than 90 days removed"),
        ("other", "4 events older than 90 days removed"),
    ]


def test_it_stops_between_batches_when_it_is_told_to(keep, monkeypatch):
    monkeypatch.setattr("logs.retention.BATCH", 2)
    keep(event_days=90)
    for _ in range(5):
        ended(None, 91)
    answers = iter([True, False])
    assert len(gone(go_on=lambda: next(answers))) == 2
    assert Event.objects.count() == 3


def test_an_event_that_is_retried_between_being_found_and_being_removed_stays(keep):
    keep(event_days=90)
    event = ended(None, 91, printed=b"first attempt")
    items = prune(NOW, go_on=lambda: event.reopen())
    assert list(items) == []
    assert left() == [event.pk]
    assert OutputChunk.objects.exists()


def test_an_event_stays_until_the_storage_has_removed_its_output(keep, monkeypatch):
    keep(event_days=90)
    event, other = ended(None, 91, printed=b"x"), ended(None, 91)
    archive(Output.objects.get())
    with monkeypatch.context() as away:
        away.setattr(default_storage, "delete", lambda name: 1 / 0)
        assert gone() == [other.pk]
    assert gone() == [event.pk]


def test_work_grows_with_what_goes_and_not_with_what_stays(keep):
    keep(event_days=90, event_count=1000)
    app = rows.repository("app")
    columns = {"repo": "app", "repository": app, "managed": True, "status": "3"}
    Event.objects.bulk_create([Event(**columns, finished_at=NOW - timedelta(days=1)) for _ in range(900)], batch_size=300)
    first = queries(lambda: gone())
    Event.objects.bulk_create([Event(**columns, finished_at=NOW - timedelta(days=1)) for _ in range(90)], batch_size=300)
    assert queries(lambda: gone()) == first


def test_a_batch_takes_as_many_queries_however_many_events_it_has(keep):
    keep(event_days=90)
    app, used = rows.repository("app"), []
    for count in (20, 90):
        columns = {"repo": "app", "repository": app, "managed": True, "status": "3"}
        Event.objects.bulk_create([Event(**columns, finished_at=NOW - timedelta(days=91)) for _ in range(count)])
        for event in Event.objects.all():
            rows.run(event)
        used.append(queries(lambda: gone()))
    assert left() == [Event.objects.latest("pk").pk]
    assert used[0] == used[1]


def queries(work):
    with CaptureQueriesContext(connection) as captured:
        work()
    return len(captured)


# What is left behind bears it


def test_what_was_pruned_is_not_found_and_its_history_stays_whole(keep, client):
    keep(event_days=90)
    app = rows.repository("app")
    old, _ = ended(app, 91), ended(app, 1)
    run = old.runs.get()
    line = Log.objects.record("event created", repo_name="app", event=old, run=run)
    assert gone() == [old.pk]
    for url in (f"/event/{old.pk}/", f"/builds/{old.pk}/", f"/job/{run.pk}/", f"/job/{run.pk}/output/", f"/job/{run.pk}/manifest/"):
        assert client.get(url).status_code == 404, url
    assert client.get(f"/log/{line.pk}/").json()["event_uuid"] == old.pk
    assert client.get(f"/log/?event_uuid={old.pk}").json()["count"] == 1
    assert client.patch(f"/log/{line.pk}/", {"msg": "noted"}, content_type="application/json").status_code == 200
    for url in ("/", "/builds/", "/repos/app/"):
        assert client.get(url).status_code == 200, url
    assert "1 event older than 90 days removed" in client.get("/repos/app/").content.decode()
