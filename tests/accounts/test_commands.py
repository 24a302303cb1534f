"""What operators do with users at the terminal: the same rules, told to the audit."""

import io

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client

from accounts.models import AuditEntry
from accounts.users import role_of

pytestmark = pytest.mark.django_db

PASSWORD = "correct horse battery"


def create_user(monkeypatch, name: str, role: str, password: str = "") -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{password}\n"))
    call_command("create_user", name, "--role", role)


def test_the_first_admin_is_made_with_a_password_from_standard_input(monkeypatch, capsys):
    create_user(monkeypatch, "root", "admin", PASSWORD)
    user = User.objects.get()
    assert (role_of(user), user.check_password(PASSWORD)) == ("admin", True)
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.target, entry.detail, entry.means) == (
        "user_created",
        "root",
        "role: admin",
        "manage.py create_user",
    )


def test_another_role_and_password_end_the_users_sessions(monkeypatch, member, capsys, required):
    client = Client()
    client.force_login(member("builder", "ada"))
    create_user(monkeypatch, "ada", "viewer", "another one that is long")
    assert client.get("/builds/").status_code == 302
    assert list(AuditEntry.objects.order_by("id").values_list("action", flat=True)) == ["role_changed", "password_changed"]


def test_the_last_admin_keeps_the_role(monkeypatch, member):
    member("admin", "root")
    with pytest.raises(CommandError, match="last admin"):
        create_user(monkeypatch, "root", "viewer")
    assert role_of(User.objects.get()) == "admin"


def test_a_weak_password_is_refused(monkeypatch):
    with pytest.raises(CommandError, match="too short"):
        create_user(monkeypatch, "root", "admin", "short")


def test_a_new_token_is_told_to_the_audit_without_its_text(member, capsys):
    member("builder", "ada")
    call_command("create_token", "ada", "nightly")
    key = capsys.readouterr().out.strip()
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.target, entry.means) == ("token_created", "ada: nightly", "manage.py create_token")
    assert key not in str(AuditEntry.objects.values_list())
