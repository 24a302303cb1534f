"""Lists: pages, filters, search and ordering by wire names, in a constant number of queries."""

import json
from datetime import UTC, datetime

import pytest
from django.core.cache import cache

from events.models import Event
from logs.models import Log, Output
from repos.credentials import store_git_login
from repos.models import Repository
from runners.models import Run


@pytest.fixture(autouse=True)
def forgotten():
    """No count is remembered from another test."""
    cache.clear()


@pytest.fixture
def events(db):
    """Five events, one a day from 1 November 2021, at noon UTC."""
    rows = [Event.objects.create(name=f"e{day}", repo="app", status=str(day), image_tag=f"v{day % 2}") for day in range(1, 6)]
    for day, row in enumerate(rows, 1):
        Event.objects.filter(pk=row.pk).update(ctime=datetime(2021, 11, day, 12, tzinfo=UTC))
    return rows


def names(answer):
    assert answer.status_code == 200, answer.content
    return [row["name"] for row in answer.json()["results"]]


def test_the_newest_row_is_first(api, events):
    assert names(api.get("/event/")) == ["e5", "e4", "e3", "e2", "e1"]


def test_a_list_has_pages(api, events):
    first = api.get("/event/?page_size=2").json()
    assert (first["count"], first["previous"], len(first["results"])) == (5, None, 2)
    second = api.get(first["next"])
    assert names(second) == ["e3", "e2"]
    assert names(api.get(second.json()["previous"])) == ["e5", "e4"]
    assert api.get("/event/?page_size=2&page=3").json()["next"] is None


def test_an_empty_list_has_one_page(api):
    assert api.get("/event/?page=1").json() == {"count": 0, "next": None, "previous": None, "results": []}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("name=e3", ["e3"]),
        ("Image_tag=v1", ["e5", "e3", "e1"]),
        ("Image_tag=v1&name=e3", ["e3"]),
        ("status=2,4", ["e4", "e2"]),
        ("status=3", ["e3"]),
        ("managed=true", []),
        ("managed=false&name=e1", ["e1"]),
        ("ctime=20211103 120000", ["e3"]),
        ("ctime_after=20211104 120000", ["e5", "e4"]),
        ("ctime_before=20211103 120000", ["e2", "e1"]),
        ("ctime_utc_after=2021-11-02T12:00:00Z&ctime_utc_before=2021-11-04T12:00:00Z", ["e3", "e2"]),
        ("ctime_utc_after=2021-11-05T20:00:00%2B08:00", ["e5"]),
        ("ctime_utc_after=2021-11-05", ["e5"]),
        ("finished_at_after=2021-11-05", []),
        ("search=e4", ["e4"]),
        ("search=app v0", ["e4", "e2"]),
        ("ordering=name", ["e1", "e2", "e3", "e4", "e5"]),
        ("ordering=-Image_tag,ctime_utc", ["e1", "e3", "e5", "e2", "e4"]),
        ("ordering=Image_tag", ["e2", "e4", "e1", "e3", "e5"]),
        ("ordering=-Image_tag", ["e5", "e3", "e1", "e4", "e2"]),
    ],
)
def test_events_are_found_by_wire_names(api, events, query, expected):
    assert names(api.get(f"/event/?{query}")) == expected


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("managed=yes", "managed"),
        ("ctime=yesterday", "ctime"),
        ("ctime_utc_after=2021-11-05T20:00:00 08:00", "ctime_utc_after"),
        ("ctime_utc_before=99999-01-01", "ctime_utc_before"),
        ("status_label=failed", "status_label"),
        ("image_tag=v1", "image_tag"),
        ("repository=x", "repository"),
    ],
)
def test_a_filter_that_can_not_be_read_is_refused(api, events, query, field):
    answer = api.get(f"/event/?{query}")
    assert (answer.status_code, [error["field"] for error in answer.json()["errors"]]) == (400, [field])


@pytest.mark.parametrize("table", ["repo", "event", "job", "log"])
def test_no_parameter_of_a_list_breaks_on_a_text_it_does_not_expect(api, table):
    described = api.get("/schema/?format=json").json()["paths"][f"/{table}/"]["get"]["parameters"]
    names = [parameter["name"] for parameter in described if parameter["in"] == "query"]
    assert "search" in names
    answers = {name: api.get(f"/{table}/", {name: "\x17no time, no number"}).status_code for name in names}
    assert {name: status for name, status in answers.items() if status not in (200, 400)} == {}


def test_every_field_of_a_row_but_derived_ones_is_a_filter(api, repository):
    """A script can ask for what it was shown."""
    Log.objects.record("m", repo_name=repository.repo_name)
    for table, derived in {"repo": {"has_credentials", "last_event", "Time_utc"}, "log": {"create_at_utc"}}.items():
        row = api.get(f"/{table}/").json()["results"][0]
        shown = {name: value for name, value in row.items() if name not in derived and value is not None}
        query = {name: json.dumps(value) if isinstance(value, bool) else value for name, value in shown.items()}
        assert api.get(f"/{table}/", query).json()["results"] == [row]


def test_a_row_of_the_list_is_named_by_id_or_name(api, repository):
    Repository.objects.create(repo_name="other")
    assert api.get(f"/repo/?id={repository.pk}").json()["results"] == [api.get("/repo/prometh_exporter/").json()]
    assert api.get("/repo/?repo_name=prometh_exporter").json()["count"] == 1


def test_wildcards_of_the_database_are_plain_text_in_a_search(api, events):
    assert names(api.get("/event/?search=%25")) == []


def fill(table, count):
    """Rows with everything beside them that an answer tells of."""
    for number in range(count):
        repository = Repository.objects.create(repo_name=f"{table}-{count}-{number}")
        store_git_login(repository, "u", "p")
        event = Event.objects.create(name="e", repo=repository.repo_name, repository=repository)
        run = Run.objects.create(name="r", event=event)
        Output.objects.create(run=run, size=1)
        Log.objects.record("m", repo_name=repository.repo_name, event=event, run=run)


@pytest.mark.parametrize("table", ["repo", "event", "job", "log"])
@pytest.mark.parametrize(("count", "queries"), [(1, 1), (10, 1), (12, 2)])
def test_a_list_takes_two_queries_however_long_it_is_and_one_where_a_page_has_all(
    api, table, count, queries, django_assert_num_queries
):
    fill(table, count)
    with django_assert_num_queries(queries):
        assert api.get(f"/{table}/?page_size=10").json()["count"] == count


def test_a_long_list_is_counted_once_a_minute(api, events, monkeypatch, django_assert_num_queries):
    monkeypatch.setattr("ci_portal.api.pagination.COUNTED", 4)
    first = api.get("/event/?page_size=2").json()
    assert (first["count"], [row["name"] for row in first["results"]]) == (5, ["e5", "e4"])
    with django_assert_num_queries(1):
        assert api.get("/event/?page_size=2&page=2").json()["count"] == 5
    cache.clear()
    with django_assert_num_queries(3):
        api.get("/event/?page_size=2")


def test_a_short_list_is_counted_now(api, events, django_assert_num_queries):
    assert api.get("/event/?page_size=2").json()["count"] == 5
    Event.objects.first().delete()
    with django_assert_num_queries(2):
        assert api.get("/event/?page_size=2").json()["count"] == 4


def test_counts_of_different_filters_are_not_mixed_up(api, events, monkeypatch):
    monkeypatch.setattr("ci_portal.api.pagination.COUNTED", 1)
    assert api.get("/event/?page_size=1").json()["count"] == 5
    assert api.get("/event/?status=2,4&page_size=1").json()["count"] == 2
    assert api.get("/event/?status=3&page_size=1&ordering=name").json()["count"] == api.get("/event/?status=3").json()["count"]


def test_a_page_behind_the_last_is_refused(api, events):
    answer = api.get("/event/?page_size=2&page=4")
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, "page")


@pytest.mark.parametrize("table", ["repo", "event", "job", "log"])
def test_a_row_takes_one_query(api, table, django_assert_num_queries):
    fill(table, 1)
    key = {"repo": Repository, "event": Event, "job": Run, "log": Log}[table].objects.get().pk
    with django_assert_num_queries(1):
        assert api.get(f"/{table}/{key}/").status_code == 200
