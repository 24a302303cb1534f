import re
from datetime import UTC, datetime, timedelta

import pytest
from django.test import Client
from django.utils import timezone

from events.models import Event
from repos.models import Repository
from tests.support import rows

pytestmark = pytest.mark.django_db


def test_it_lists_events_newest_first(client: Client):
    exporter = rows.repository()
    older, newer = (rows.event(exporter, image_tag=tag) for tag in ("buildv202611230700", "buildv202611230800"))
    page = client.get("/builds/").content.decode()
    assert 0 < page.index(f"/builds/{newer.pk}/") < page.index(f"/builds/{older.pk}/")


def test_it_shows_image_who_and_duration(client: Client):
    finished = rows.event(rows.repository(), status="3", created_by="ada")
    finished.finished_at = finished.ctime + timedelta(seconds=125)
    finished.save()
    page = client.get("/builds/").content.decode()
    assert "registry.example.com/team/exporter:buildv202611230801" in page
    assert "by ada" in page
    assert "2 min 5 s" in page


@pytest.mark.parametrize(
    ("query", "shown"),
    [({"state": "failed"}, {1}), ({"repo": "exporter"}, {0, 1}), ({"repo": "exporter", "state": "succeeded"}, {0})],
)
def test_it_filters_by_repository_and_state(client: Client, query, shown):
    exporter, other = rows.repository("exporter"), rows.repository("other")
    events = [rows.event(exporter, status="3"), rows.event(exporter, status="4"), rows.event(other, status="2")]
    page = client.get("/builds/", query).content.decode()
    assert {number for number, each in enumerate(events) if f"/builds/{each.pk}/" in page} == shown


def test_a_state_that_does_not_exist_is_refused_in_words(client: Client):
    recorded = rows.event(rows.repository())
    page = client.get("/builds/", {"state": "sleeping"}).content.decode()
    assert "This filter is not understood." in page
    assert f"/builds/{recorded.pk}/" not in page


def test_it_goes_on_to_older_and_back_to_newer_events(client: Client):
    exporter = rows.repository()
    keys = [rows.event(exporter, image_tag=f"v{number}").pk for number in range(60)]
    first = client.get("/builds/", {"repo": "exporter"}).content.decode()
    assert f'href="?repo=exporter&amp;before={keys[10]}"' in first
    assert 'rel="prev"' not in first
    older = client.get("/builds/", {"repo": "exporter", "before": keys[10]}).content.decode()
    assert f"/builds/{keys[9]}/" in older
    assert f"/builds/{keys[0]}/" in older
    assert 'rel="next"' not in older
    assert f'href="?repo=exporter&amp;after={keys[9]}"' in older
    newer = client.get("/builds/", {"repo": "exporter", "after": keys[9]}).content.decode()
    assert f"/builds/{keys[59]}/" in newer
    assert f"/builds/{keys[9]}/" not in newer


def test_it_asks_the_database_twice_however_many_events_there_are(client: Client, django_assert_num_queries):
    exporter = rows.repository()
    for _ in range(55):
        rows.event(exporter, status="3")
    client.get("/builds/")
    with django_assert_num_queries(2):  # the events, the names that the filter suggests
        client.get("/builds/")


def test_the_estimates_of_what_is_not_over_take_two_queries_for_all_repositories(client: Client, django_assert_num_queries):
    for number in range(10):
        rows.event(rows.repository(f"service-{number}"), status="2")
    client.get("/builds/")
    with django_assert_num_queries(4):
        client.get("/builds/")


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ({"state": "active"}, {0, 1}),
        ({"who": "ada"}, {1}),
        ({"q": "4f1c9f0"}, {0, 1, 2}),
        ({"q": "disk full"}, {2}),
        ({"q": "v7", "state": "running"}, {1}),
    ],
)
def test_it_filters_by_who_and_state_and_searches(client: Client, query, shown):
    exporter = rows.repository()
    events = [
        rows.event(exporter, status="1", created_by="grace"),
        rows.event(exporter, status="2", created_by="ada", image_tag="v7"),
        rows.event(exporter, status="4", reason="The disk is full."),
    ]
    page = client.get("/builds/", query).content.decode()
    assert {number for number, each in enumerate(events) if f'data-key="{each.pk}"' in page} == shown


def test_a_build_is_found_by_its_number(client: Client):
    exporter = rows.repository()
    wanted, other = rows.event(exporter, name="a"), rows.event(exporter, name="b")
    page = client.get("/builds/", {"q": f"#{wanted.pk}"}).content.decode()
    assert f'data-key="{wanted.pk}"' in page
    assert f'data-key="{other.pk}"' not in page


def started(at: datetime) -> int:
    event = rows.event(rows.repository(f"r{at:%d%H}"), status="3")
    Event.objects.filter(pk=event.pk).update(ctime=at)
    return event.pk


@pytest.mark.parametrize(
    ("zone", "shown"),
    [("", {1, 2}), ("Asia%2FShanghai", {0, 1}), ("America/New_York", {2, 3}), ("../etc/passwd", {1, 2}), ("No/Where", {1, 2})],
)
def test_a_day_is_one_of_the_readers(client: Client, zone, shown):
    keys = [started(datetime(2026, 11, day, hour, tzinfo=UTC)) for day, hour in [(19, 18), (20, 3), (20, 20), (21, 2)]]
    client.cookies["zone"] = zone
    page = client.get("/builds/", {"since": "2026-11-20", "until": "2026-11-20"}).content.decode()
    assert {number for number, key in enumerate(keys) if f'data-key="{key}"' in page} == shown


def test_each_active_filter_can_be_taken_away(client: Client):
    rows.event(rows.repository(), status="4", created_by="ada")
    page = client.get("/builds/", {"state": "failed", "who": "ada", "before": "99"}).content.decode()
    assert '<a class="chip" href="?who=ada">' in page
    assert '<a class="chip" href="?state=failed">' in page


def test_a_filter_without_a_hit_says_so(client: Client):
    rows.event(rows.repository())
    assert "No build matches this filter." in client.get("/builds/", {"who": "nobody"}).content.decode()


def test_a_running_build_shows_how_long_it_may_take(client: Client):
    exporter = rows.repository()
    begin = timezone.now() - timedelta(hours=1)
    for seconds in (50, 60, 500):
        done = rows.event(exporter, status="3", finished_at=begin + timedelta(seconds=seconds))
        rows.run(done, started_at=begin)
    rows.run(rows.event(exporter, status="2"), status="running", started_at=timezone.now() - timedelta(seconds=15))
    page = client.get("/builds/", {"state": "running"}).content.decode()
    assert "≈ 1 min 0 s" in page
    assert 'data-expected="60.0"' in page
    assert 0.2 < float(re.search(r'<progress[^>]* value="([0-9.]+)"', page)[1]) < 0.4


def test_an_estimate_never_says_that_a_build_is_over(client: Client):
    exporter = rows.repository()
    begin = timezone.now() - timedelta(hours=2)
    rows.run(rows.event(exporter, status="3", finished_at=begin + timedelta(seconds=1)), started_at=begin)
    rows.run(rows.event(exporter, status="2"), status="running", started_at=begin)
    assert 'value="0.96"' in client.get("/builds/", {"state": "running"}).content.decode()


@pytest.mark.parametrize(
    ("status", "managed", "offered"),
    [
        ("1", True, "cancel"),
        ("2", True, "cancel"),
        ("3", True, None),
        ("4", True, "retry"),
        ("5", True, "retry"),
        ("4", False, None),
    ],
)
def test_a_row_offers_what_can_be_done_about_its_build(client: Client, status, managed, offered):
    rows.run(rows.event(rows.repository(), status=status, managed=managed))
    page = client.get("/builds/").content.decode()
    assert re.findall(r'data-action="(\w+)"', page) == ([offered] if offered else [])


def test_a_build_that_is_being_cancelled_says_so_and_offers_nothing_more(client: Client):
    rows.run(rows.event(rows.repository(), status="2"), status="running", cancel_requested_at=timezone.now())
    page = client.get("/builds/").content.decode()
    assert "Being cancelled…" in page
    assert "data-action" not in page


def test_a_list_that_has_not_changed_is_not_sent_again(client: Client):
    rows.event(rows.repository(), status="3")
    first = client.get("/builds/", headers={"X-Live": "1"})
    assert "<html" not in first.content.decode()
    again = client.get("/builds/", headers={"X-Live": "1", "If-None-Match": first["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    rows.event(Repository.objects.get(), status="1")
    assert client.get("/builds/", headers={"X-Live": "1", "If-None-Match": first["ETag"]}).status_code == 200


def test_a_portal_without_builds_says_what_to_do_next(client: Client):
    assert "press Build" in client.get("/builds/").content.decode()
