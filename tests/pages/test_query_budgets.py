"""With 200 repositories and 100,000 events no page asks the database for more than its budget."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import ApiToken, AuditEntry, BrowserSession
from events.models import Event
from repos.credentials import store_git_login
from repos.models import Credential, Repository
from runners.models import Run
from tests.support import rows
from tests.support.roles import group_of

pytestmark = pytest.mark.django_db

REPOSITORIES, EVENTS = 200, 100_000
USERS, ATTEMPTS = 200, 30
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
    "/builds/{ended}/": 6,
    "/builds/{running}/": 8,
    "/builds/{running}/manifest/": 3,
    "/builds/0/": 2,
}
#: The same for whoever is logged in: their session and their user come on top.
LOGGED_IN = {
    "/": 6,
    "/builds/": 6,
    "/builds/{ended}/": 8,
    "/repos/service-7/": 7,
    "/credentials/": 5,
    "/credentials/?q=service-1": 5 + SEARCH,
    "/reconcile/": 9,
    "/account/tokens/": 3,
    "/account/sessions/": 3,
    "/account/password/": 2,
    "/users/": 5,
    "/users/?q=user-1": 5 + SEARCH,
    "/users/{user}/": 7,
    "/tokens/": 4,
    "/audit/": 3,
    "/audit/?who=user-7&what=login": 3,
    "/admin/": 3,
    "/admin/events/event/": 5,
    "/admin/repos/repository/": 4,
    "/docs/": 2,
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
        for number in range(ATTEMPTS):
            rows.run(running[0], status="failed", attempt=number + 1)
        people()
        yield {"ended": running[-1].pk - 1, "running": running[0].pk, "user": User.objects.get(username="user-7").pk}
        for model in (AuditEntry, ApiToken, BrowserSession, Credential, User, Run, Event, Repository):
            model.objects.all()._raw_delete("default")


def people() -> None:
    """Users with a token, a session and an audit entry each, and a login for each repository."""
    User.objects.bulk_create(User(username=f"user-{number}") for number in range(USERS))
    users = list(User.objects.filter(username__startswith="user-"))
    soon = timezone.now() + timedelta(days=1)
    ApiToken.objects.bulk_create(ApiToken(user=user, name="nightly", digest=user.username) for user in users)
    BrowserSession.objects.bulk_create(BrowserSession(user=user, session_key=user.username, expire_date=soon) for user in users)
    AuditEntry.objects.bulk_create(AuditEntry(actor=user.username, action="login") for user in users for _ in range(20))
    for repository in Repository.objects.all():
        store_git_login(repository, "ada", "s3cret-token")


@pytest.fixture
def admin(client: Client, settings) -> Client:
    """An admin who is logged in, with auth.mode required."""
    auth = settings.PORTAL.auth.model_copy(update={"mode": "required"})
    settings.PORTAL = settings.PORTAL.model_copy(update={"auth": auth})
    user = User.objects.create_superuser("root")
    user.groups.set(group_of("admin"))
    client.force_login(user)
    return client


def check(client: Client, address: str, budget: int) -> None:
    client.get(address)  # a search makes its row of the rate limits first
    with CaptureQueriesContext(connection) as asked:
        assert client.get(address).status_code == (404 if address == "/builds/0/" else 200)
    assert len(asked) <= budget, [query["sql"] for query in asked]


@pytest.mark.parametrize("address", BUDGETS)
def test_a_page_stays_within_its_budget(client: Client, many, address):
    check(client, address.format(**many), BUDGETS[address])


@pytest.mark.parametrize("address", LOGGED_IN)
def test_a_page_of_somebody_who_is_logged_in_stays_within_its_budget(admin: Client, many, address):
    check(admin, address.format(**many), LOGGED_IN[address])


def test_there_is_as_much_as_the_budgets_are_stated_for(many):
    assert (Repository.objects.count(), Event.objects.count()) == (REPOSITORIES, EVENTS)
