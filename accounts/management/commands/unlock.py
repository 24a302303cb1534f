"""`manage.py unlock --user NAME`: forgets failed logins."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts.lockout import unlock
from accounts.models import AuditEntry
from accounts.sender import Sender


class Command(BaseCommand):
    """Lets somebody log in again before auth.lockout_minutes are over."""

    help = "Forget failed logins of a user, of an address, or all of them, so that logging in is tried again at once."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Whom."""
        parser.add_argument("--user", default="", help="whose failures, from wherever")
        parser.add_argument("--address", default="", help="failures from this IP address")
        parser.add_argument("--all", action="store_true", help="all failures")

    def handle(self, *args: Any, user: str, address: str, all: bool, **options: Any) -> None:
        """Forget them. Raises CommandError."""
        if not (user or address or all):
            raise CommandError("say whom: --user, --address, or --all")
        count = unlock(user, address)
        AuditEntry.objects.record("unlocked", user or address or "all", by=Sender(means="manage.py unlock"))
        self.stdout.write(f"{count} count{'' if count == 1 else 's'} of failed logins forgotten.")
