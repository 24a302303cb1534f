"""`manage.py revoke_token USER NAME`: ends an API token."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts.models import ApiToken, AuditEntry
from accounts.sender import Sender


class Command(BaseCommand):
    """What the pages of tokens do too."""

    help = "End an API token: whoever sends it from now on is refused."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Whose and which."""
        parser.add_argument("user", help="whose token it is")
        parser.add_argument("name", help="the name that it was given")

    def handle(self, *args: Any, user: str, name: str, **options: Any) -> None:
        """End it. Raises CommandError."""
        token = ApiToken.objects.select_related("user").filter(user__username=user, name=name).first()
        if token is None:
            raise CommandError(f"{user} has no token named {name!r}")
        title = token.title()
        token.delete()
        AuditEntry.objects.record("token_revoked", title, by=Sender(means="manage.py revoke_token"))
        self.stdout.write(f"{title} was revoked.")
