"""With 200 repositories and 100,000 events no page asks the database for more than its budget."""

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from events.models import Event
from repos.models import Repository
from runners.models import Run
from tests.support import rows

pytestmark = pytest.mark.django_db

REPOSITORIES, EVENTS = 200, 100_000
#: Queries that a search takes for its rate limit.
SEARCH = 2
#: Address → queries.
BUDGETS = {
    "/": 4,
    "/?q=service-1&sort=name&page=2": 4 + SEARCH,
    "/builds/": 4,
    "/builds/?state=failed": 2,
    "/builds/?state=active": 4,
    "/builds/?repo=service-7": 2,
    "/builds/?who=nobody": 2,
    "/builds/?who=ada&since=2026-01-02&until=2026-01-03": 2,
    "/builds/?q=4f1c9f0d": 4 + SEARCH,
    "/builds/?before=5000": 2,
    "/repos/service-7/": 5,
    "/repos/service-7/-/edit/": 5,
    "/repos/service-7/badge.svg": 2,
}


@pytest.fixture(scope="module")
def many(django_db_setup, django_db_blocker):
    """Written by the database itself, which takes a second or two; removed again, since other tests share it."""
    with django_db_blocker.unblock():
        Repository.objects.bulk_create(
            Repository(repo_name=f"service-{number}", repo=f"https://git.example.com/service-{number}.git")
            for number in range(REPOSITORIES)
        )
        digits = " UNION ALL ".join(f"SELECT {digit} AS n" for digit in range(10))
        source = ", ".join(f"({digits}) d{place}" for place in range(5))
        number = "(d0.n + 10 * d1.n + 100 * d2.n + 1000 * d3.n + 10000 * d4.n)"
        mysql = connection.vendor == "mysql"
        name = f"CONCAT('service-', {number} % {REPOSITORIES})" if mysql else f"'service-' || ({number} % {REPOSITORIES})"
        columns = ["name", "status", "repo", "managed", "ref", "commit", "created_by", "ctime", "finished_at"]
        repo = name.replace("%", "%%")
        values = f"'event', CASE WHEN {number} %% 9 = 0 THEN '4' ELSE '3' END, {repo}, 1, 'refs/heads/main', %s, 'ada', %s, %s"
        with connection.cursor() as cursor:
            cursor.execute(
                f"INSERT INTO event ({', '.join(map(connection.ops.quote_name, columns))}) SELECT {values} FROM {source}",
                [rows.COMMIT, timezone.now(), timezone.now()],
            )
        running = list(Event.objects.order_by("-pk")[:20])
        Event.objects.filter(pk__in=[event.pk for event in running]).update(status="2", finished_at=None)
        for event in running:
            rows.run(event, status="running")
        yield
        for model in (Run, Event, Repository):
            model.objects.all()._raw_delete("default")


@pytest.mark.usefixtures("many")
@pytest.mark.parametrize("address", BUDGETS)
def test_a_page_stays_within_its_budget(client: Client, address):
    client.get(address)  # a search makes its row of the rate limits first
    with CaptureQueriesContext(connection) as asked:
        assert client.get(address).status_code == 200
    assert len(asked) <= BUDGETS[address], [query["sql"] for query in asked]


def test_there_is_as_much_as_the_budgets_are_stated_for(many):
    assert (Repository.objects.count(), Event.objects.count()) == (REPOSITORIES, EVENTS)
