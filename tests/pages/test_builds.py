import pytest
from django.test import Client

from tests.support import rows

pytestmark = pytest.mark.django_db


def test_it_lists_events_newest_first(client: Client):
    exporter = rows.repository()
    older, newer = (rows.event(exporter, image_tag=tag) for tag in ("buildv202611230700", "buildv202611230800"))
    page = client.get("/builds/").content.decode()
    assert 0 < page.index(f"/builds/{newer.pk}/") < page.index(f"/builds/{older.pk}/")


def test_it_shows_image_who_and_duration(client: Client):
    finished = rows.event(rows.repository(), status="3", created_by="ada")
    finished.finished_at = finished.ctime + __import__("datetime").timedelta(seconds=125)
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


def test_it_asks_the_database_once_however_many_events_there_are(client: Client, django_assert_num_queries):
    exporter = rows.repository()
    for _ in range(55):
        rows.event(exporter)
    client.get("/builds/")
    with django_assert_num_queries(1):
        client.get("/builds/")


def test_a_portal_without_builds_says_what_to_do_next(client: Client):
    assert "press Build" in client.get("/builds/").content.decode()
