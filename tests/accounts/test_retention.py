"""What retention removes of accounts: entries of the audit by age, and sessions that have expired."""

from datetime import timedelta

import pytest
from django.core.management import call_command
from django.db.models import F
from django.test import Client
from django.utils import timezone

from accounts.models import AuditEntry, BrowserSession

pytestmark = pytest.mark.django_db


def test_entries_of_the_audit_go_by_their_age_and_only_where_that_is_configured(portal_settings, capsys):
    AuditEntry.objects.record("login", "old")
    AuditEntry.objects.update(at=F("at") - timedelta(days=100))
    AuditEntry.objects.record("login", "new")
    call_command("prune", "--only", "audit")
    assert AuditEntry.objects.count() == 2
    portal_settings("retention", audit_days=90)
    call_command("prune", "--only", "audit")
    assert list(AuditEntry.objects.values_list("target", flat=True)) == ["new"]


def test_expired_sessions_go_and_no_output_names_their_keys(member, capsys):
    for name in ("ada", "bob"):
        Client().force_login(member("viewer", name))
    over = BrowserSession.objects.get(user__username="ada")
    BrowserSession.objects.filter(pk=over.pk).update(expire_date=timezone.now() - timedelta(seconds=1))
    call_command("prune", "--only", "sessions", "-v", "2")
    assert BrowserSession.objects.get().user.username == "bob"
    assert over.session_key not in capsys.readouterr().out
