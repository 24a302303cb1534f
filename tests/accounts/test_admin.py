"""Django's admin: lists of all that the portal keeps, no secrets, and nothing to change that only the portal may."""

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, User
from django.test import Client

from accounts.models import ApiToken, AuditEntry
from logs.models import Log
from repos.credentials import store_git_login
from tests.support import rows
from tests.support.roles import group_of

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("required")]

READ_ONLY = [
    "repos/repository",
    "repos/credential",
    "events/event",
    "runners/run",
    "logs/log",
    "logs/output",
    "accounts/apitoken",
    "auth/user",
]


@pytest.fixture
def page(member) -> Client:
    client = Client()
    client.force_login(member("admin", "root"))
    return client


def test_every_table_of_the_portal_has_its_list(page):
    tables = page.get("/admin/").content.decode()
    for table in [*READ_ONLY, "auth/group", "accounts/identity", "accounts/attempts"]:
        assert f"/admin/{table}/" in tables, table


@pytest.mark.parametrize("table", READ_ONLY)
def test_what_only_the_portal_may_change_is_to_look_at(page, table):
    repository = rows.repository("exporter")
    store_git_login(repository, "reader", "s3cret-token")
    rows.run(rows.event(repository))
    Log.objects.record("x", repo_name="exporter")
    ApiToken.objects.issue(User.objects.get(), "nightly")
    assert page.get(f"/admin/{table}/").status_code == 200
    assert page.get(f"/admin/{table}/add/").status_code == 403
    model = next(model for model in admin.site._registry if model._meta.label_lower == table.replace("/", "."))
    row = model._default_manager.first()
    if row is not None:
        shown = page.get(f"/admin/{table}/{row.pk}/change/")
        assert shown.status_code == 200
        assert 'name="_save"' not in shown.content.decode()
        assert page.post(f"/admin/{table}/{row.pk}/change/", {}).status_code == 403
        assert page.post(f"/admin/{table}/{row.pk}/delete/", {"post": "yes"}).status_code == 403


def test_no_secret_is_on_any_of_its_pages(page):
    repository = rows.repository("exporter")
    store_git_login(repository, "reader", "s3cret-token")
    token = ApiToken.objects.issue(User.objects.get(), "nightly")[0]
    credential, user = repository.credentials.get(), User.objects.get()
    for path in (
        "repos/credential/",
        f"repos/credential/{credential.pk}/change/",
        "accounts/apitoken/",
        f"accounts/apitoken/{token.pk}/change/",
        f"auth/user/{user.pk}/change/",
    ):
        shown = page.get(f"/admin/{path}").content.decode()
        for secret in (credential.ciphertext, token.digest, user.password):
            assert secret not in shown, path


def test_a_group_of_ones_own_is_made_changed_and_deleted_and_the_audit_tells(page):
    page.post("/admin/auth/group/add/", {"name": "auditors", "permissions": []})
    group = Group.objects.get(name="auditors")
    page.post(f"/admin/auth/group/{group.pk}/change/", {"name": "reviewers", "permissions": []})
    page.post(f"/admin/auth/group/{group.pk}/delete/", {"post": "yes"})
    details = list(AuditEntry.objects.order_by("id").values_list("actor", "detail"))
    assert details == [
        ("root", "group auditors added"),
        ("root", "group reviewers changed: Name"),
        ("root", "group reviewers deleted"),
    ]


@pytest.mark.parametrize("role", ["viewer", "builder", "admin"])
def test_the_groups_that_are_roles_stay(page, role):
    (group,) = group_of(role)
    assert page.post(f"/admin/auth/group/{group.pk}/change/", {"name": "x", "permissions": []}).status_code == 403
    assert page.post(f"/admin/auth/group/{group.pk}/delete/", {"post": "yes"}).status_code == 403
    page.post("/admin/auth/group/", {"action": "delete_selected", "_selected_action": [group.pk], "post": "yes"})
    assert Group.objects.filter(name=role).exists()


def test_passwords_are_changed_on_the_portals_page_alone(page):
    assert page.get("/admin/password_change/")["Location"] == "/account/password/"
    user = User.objects.get()
    assert page.get(f"/admin/auth/user/{user.pk}/password/").status_code in (302, 404)


def test_logging_out_of_it_ends_the_session(page):
    page.post("/admin/logout/")
    assert page.get("/admin/").status_code == 302


def test_with_auth_mode_open_it_still_wants_somebody(db, portal_settings):
    portal_settings("auth", mode="open")
    assert Client().get("/admin/auth/user/", follow=True).redirect_chain[-1][0].startswith("/login/")
