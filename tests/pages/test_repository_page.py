import re
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from logs.models import Log, Output
from repos.credentials import store_git_login
from repos.models import Repository
from tests.support import rows

pytestmark = pytest.mark.django_db


def page_of(client: Client, path: str = "/repos/exporter/", **query: object) -> str:
    answer = client.get(path, query)
    assert answer.status_code == 200
    return answer.content.decode()


def built(exporter: Repository, seconds: float, **columns: object) -> int:
    begin = timezone.now() - timedelta(hours=1)
    event = rows.event(exporter, **{"status": "3", "finished_at": begin + timedelta(seconds=seconds), **columns})
    rows.run(event, started_at=begin)
    return event.pk


def test_a_repository_has_a_page_with_settings_events_and_history(client: Client):
    exporter = rows.repository("exporter", branch="release")
    recorded = rows.event(exporter)
    exporter.logs.create(msg="branch changed to release", actor="ada")
    page = page_of(client)
    assert "release" in page
    assert f'href="/builds/{recorded.pk}/"' in page
    assert "branch changed to release" in page
    assert page_of(client, f"/repos/{exporter.pk}/").count("branch changed to release") == 1


def test_its_page_says_that_newer_checks_supersede_older_ones(client: Client):
    rows.repository("exporter", supersede=True)
    rows.repository("importer")
    assert "<dt>Newest only</dt><dd>yes</dd>" in page_of(client)
    assert "Newest only" not in page_of(client, "/repos/importer/")


def test_a_repository_whose_name_holds_a_slash_has_its_pages_too(client: Client):
    rows.repository("team/exporter")
    for path in ("/repos/team/exporter/", "/repos/team/exporter/-/edit/", "/repos/team/exporter/badge.svg"):
        assert client.get(path).status_code == 200


def test_a_repository_that_is_not_there_is_a_page_that_says_so(client: Client):
    answer = client.get("/repos/nothing/", headers={"Accept": "text/html"})
    assert answer.status_code == 404
    assert "<h1>Not found</h1>" in answer.content.decode()


def test_it_says_how_often_and_how_fast_it_succeeds(client: Client):
    exporter = rows.repository()
    for seconds in (60, 120):
        built(exporter, seconds)
    built(exporter, 5, status="4")
    built(exporter, 900, status="5")
    page = page_of(client)
    assert re.search(r"Success rate</dt><dd[^>]*>67 %<", page)
    assert re.search(r"Average duration</dt><dd[^>]*>1 min 30 s<", page)
    assert 'aria-label="The last 4 builds: 1 cancelled, 1 failed, 2 succeeded"' in page


def test_one_that_was_never_built_says_what_to_do_next(client: Client):
    rows.repository()
    page = page_of(client)
    assert "Press Build now to make the first image." in page
    assert '<svg class="trend"' not in page


def test_its_history_goes_on_page_by_page(client: Client):
    rows.repository()
    lines = [Log.objects.record(f"change {number:02}", repo_name="exporter") for number in range(25)]
    first = page_of(client)
    assert "change 24" in first
    assert "change 04" not in first
    assert f'href="?history={lines[5].pk}#history"' in first
    older = page_of(client, history=lines[5].pk)
    assert "change 04" in older
    assert "change 05" not in older


def test_it_takes_the_same_number_of_queries_for_few_builds_and_for_many(client: Client, django_assert_num_queries):
    exporter = rows.repository()
    built(exporter, 5)
    page_of(client)
    for _ in range(2):
        with django_assert_num_queries(5):  # repository, its builds in two, credentials, history
            page_of(client)
        for number in range(45):
            built(exporter, number)
            Log.objects.record("change", repo_name="exporter")


def test_what_renews_itself_asks_for_the_builds_alone(client: Client, django_assert_num_queries):
    built(rows.repository(), 5)
    with django_assert_num_queries(3):
        page = client.get("/repos/exporter/", headers={"X-Live": "1"}).content.decode()
    assert 'id="overview"' in page
    assert 'id="history"' not in page


def test_it_says_that_credentials_are_stored_and_never_what_they_are(client: Client):
    store_git_login(rows.repository(), "ada", "s3cret-token")
    for path in ("/repos/exporter/", "/repos/exporter/-/edit/"):
        page = page_of(client, path)
        assert "stored, encrypted" in page
        assert "s3cret" not in page


def test_its_settings_are_filled_in_where_they_are_changed(client: Client):
    rows.repository(branch="release", supersede=True, desc='says "no"')
    page = page_of(client, "/repos/exporter/-/edit/")
    assert re.search(r'name="branch" value="release"', page)
    assert 'value="says &quot;no&quot;"' in page
    assert re.search(r'name="supersede"[^>]* checked', page)


def test_it_says_what_goes_and_what_stays_before_it_is_deleted(client: Client):
    exporter = rows.repository()
    for _ in range(2):
        run = rows.run(rows.event(exporter, status="3"))
        Output.objects.create(run=run, size=3 * 1024 * 1024)
    page = page_of(client, "/repos/exporter/-/edit/")
    assert "2 builds" in page
    assert "2 attempts, 6.0\xa0MB of output" in page


def test_one_whose_build_has_not_ended_says_why_it_cannot_be_deleted(client: Client):
    rows.event(rows.repository(), status="2")
    page = page_of(client, "/repos/exporter/-/edit/")
    assert re.search(r'id="delete_button" disabled aria-describedby="delete-why"', page)
    assert "One build has not ended" in page
