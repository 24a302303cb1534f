"""`manage.py create_token USER NAME`: makes an API token and prints it, once."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction
from django.utils import timezone

from accounts.models import ApiToken, AuditEntry
from accounts.roles import SCOPES
from accounts.sender import Sender


class Command(BaseCommand):
    """Only the token's SHA-256 is stored, so nobody can read it again."""

    help = "Make an API token for a user and print it, once. Scripts send it as: Authorization: Token <token>"

    def add_arguments(self, parser: ArgumentParser) -> None:
        """USER, NAME and how long it is good for."""
        parser.add_argument("user", help="whose rights the token has")
        parser.add_argument("name", help="what it is for, like 'nightly builds'")
        parser.add_argument("--scope", choices=list(SCOPES), default="build", help="what it may do at most (default: build)")
        parser.add_argument("--days", type=int, help="days until it expires; without this, it never does")

    def handle(self, *args: Any, user: str, name: str, scope: str, days: int | None, **options: Any) -> None:
        """Make it. Raises CommandError."""
        model = get_user_model()
        owner = model._default_manager.filter(**{model.USERNAME_FIELD: user}).first()
        if owner is None:
            raise CommandError(f"there is no user {user!r}: `manage.py create_user` makes one")
        if not 1 <= len(name) <= 100:
            raise CommandError("a token's name has 1 to 100 characters")
        if days is not None and not 1 <= days <= 3650:
            raise CommandError("--days is a number from 1 to 3650")
        if ApiToken.objects.filter(user=owner, name=name).exists():
            raise CommandError(f"{user} has a token named {name!r} already: choose another name")
        expires_at = timezone.now() + timedelta(days=days) if days else None
        with transaction.atomic():
            token, key = ApiToken.objects.issue(owner, name, expires_at, scope=scope)
            detail = f"scope: {scope}, {f'until {expires_at:%Y-%m-%d}' if expires_at else 'for ever'}"
            AuditEntry.objects.record("token_created", token.title(), detail, by=Sender(means="manage.py create_token"))
        self.stdout.write(key)
