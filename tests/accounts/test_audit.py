"""The audit: every change that somebody makes, with who, from where, by what, old and new, and no secrets."""

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import ApiToken, AuditEntry
from logs.models import Log
from tests.support import rows

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("required")]


@pytest.fixture
def admin(member) -> Client:
    client = Client(REMOTE_ADDR="198.51.100.7")
    client.force_login(member("admin", "root"))
    return client


@pytest.fixture
def exporter():
    return rows.repository("exporter", repo="https://git.example/team/exporter.git", branch="main")


def patch(client: Client, path: str, **body: object) -> object:
    return client.patch(path, body, content_type="application/json")


def test_a_change_says_who_from_where_what_and_old_and_new(admin, exporter):
    answer = patch(admin, "/repo/exporter/", branch="next")
    entry = AuditEntry.objects.get(action="change")
    assert (entry.actor, entry.means, entry.address, entry.target) == ("root", "session", "198.51.100.7", "exporter")
    assert entry.detail == "repository exporter changed: branch: main → next"
    assert entry.request_id == answer["X-Request-ID"]


def test_by_a_token_it_says_by_which(exporter, member):
    key = ApiToken.objects.issue(member("builder", "ada"), "nightly")[1]
    headers = {"authorization": f"Token {key}"}
    Client().patch("/repo/exporter/", {"branch": "next"}, content_type="application/json", headers=headers)
    entry = AuditEntry.objects.get(action="change")
    assert (entry.actor, entry.means) == ("ada", "token nightly")


def test_a_credential_is_told_to_be_set_and_never_shown(admin, exporter):
    patch(admin, "/repo/exporter/", git_user="reader", git_token="s3cret-one")
    patch(admin, "/repo/exporter/", git_token="s3cret-two")
    details = list(AuditEntry.objects.order_by("id").values_list("detail", flat=True))
    assert "git credentials set" in details[0]
    assert "git credentials replaced" in details[1]
    assert "s3cret" not in str(AuditEntry.objects.values_list())


def test_what_nobody_may_do_leaves_no_entry(exporter, member):
    client = Client()
    client.force_login(member("viewer"))
    patch(client, "/repo/exporter/", branch="next")
    assert not AuditEntry.objects.filter(action="change").exists()


def test_cancel_and_retry_are_told(admin):
    event = rows.event(rows.repository("exporter"), status="1")
    rows.run(event)
    admin.post(f"/event/{event.pk}/cancel/")
    admin.post(f"/event/{event.pk}/retry/")
    told = " | ".join(AuditEntry.objects.order_by("id").values_list("detail", flat=True))
    assert "is to be cancelled" in told
    assert "is built again" in told


def test_the_history_may_be_deleted_and_the_audit_tells_of_it(admin, exporter):
    patch(admin, "/repo/exporter/", branch="next")
    line = Log.objects.get(msg__contains="branch")
    admin.delete(f"/log/{line.pk}/")
    assert AuditEntry.objects.filter(detail__contains="branch: main → next").exists()
    assert AuditEntry.objects.filter(actor="root", detail=f"log entry {line.pk} deleted").exists()


def test_logging_in_and_out_are_told(member):
    member("viewer", "ada")
    client = Client(REMOTE_ADDR="198.51.100.9")
    client.post("/login/", {"username": "ada", "password": "correct horse battery"})
    client.post("/logout/")
    told = list(AuditEntry.objects.order_by("id").values_list("action", "target", "address"))
    assert told == [("login", "ada", "198.51.100.9"), ("logout", "ada", "198.51.100.9")]


def test_what_the_portal_does_by_itself_is_no_entry(exporter):
    Log.objects.record("run started", repo_name="exporter")
    assert not AuditEntry.objects.exists()


# The page


@pytest.fixture
def entries():
    for number in range(3):
        AuditEntry.objects.record("login", f"user{number}", actor=f"user{number}")
    AuditEntry.objects.record("role_changed", "user1", "role: viewer → admin", actor="user0")
    AuditEntry.objects.filter(actor="user2").update(at=timezone.now() - timedelta(days=10))


def shown(admin: Client, **query: object) -> list[tuple[str, str]]:
    return [(row.actor, row.action) for row, _ in admin.get("/audit/", query).context["rows"]]


@pytest.mark.usefixtures("entries")
@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"who": "user0"}, [("user0", "role_changed"), ("user0", "login")]),
        ({"what": "role_changed"}, [("user0", "role_changed")]),
        ({"target": "user1"}, [("user0", "role_changed"), ("user1", "login")]),
        ({"who": "user0", "what": "login"}, [("user0", "login")]),
        ({"until": f"{timezone.now() - timedelta(days=5):%Y-%m-%d}"}, [("user2", "login")]),
        ({"since": f"{timezone.now() - timedelta(days=11):%Y-%m-%d}", "who": "user2"}, [("user2", "login")]),
        ({"since": f"{timezone.now() - timedelta(days=5):%Y-%m-%d}", "who": "user2"}, []),
        ({"address": "203.0.113.1"}, []),
    ],
)
def test_it_is_filtered_by_who_what_of_what_when_and_from_where(admin, query, expected):
    assert shown(admin, **query) == expected


def test_a_filter_that_makes_no_sense_is_told_beside_its_field(admin):
    page = admin.get("/audit/?since=yesterday&address=here").content.decode()
    assert page.count('class="error"') == 2


def test_pages_lead_on_to_older_entries_without_a_count(admin, django_assert_max_num_queries):
    AuditEntry.objects.bulk_create([AuditEntry(action="login", actor=f"user{n}") for n in range(120)])
    first = admin.get("/audit/")
    assert len(first.context["rows"]) == 50
    with django_assert_max_num_queries(7):
        second = admin.get(f"/audit/?before={first.context['older']}")
    assert second.context["rows"][0][0].pk < first.context["rows"][-1][0].pk
    assert admin.get(f"/audit/?before={second.context['older']}").context["older"] is None


def test_what_it_tells_is_text_and_no_markup(admin):
    AuditEntry.objects.record("login_failed", "<script>alert(1)</script>")
    assert "<script>alert" not in admin.get("/audit/").content.decode()
