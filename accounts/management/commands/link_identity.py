"""`manage.py link_identity USER SUBJECT`: lets a user who has a password here log in through OpenID Connect."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError

from accounts.models import AuditEntry, Identity
from accounts.sender import Sender


class Command(BaseCommand):
    """Who has tried and was refused because the name was taken is in the audit, with their subject."""

    help = "Tie a user to an account at the OpenID Connect provider (auth.oidc_issuer), by its subject (claim sub)."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """USER and SUBJECT."""
        parser.add_argument("user", help="the user here")
        parser.add_argument("subject", help="the claim sub of the account there; the audit tells that of whom was refused")

    def handle(self, *args: Any, user: str, subject: str, **options: Any) -> None:
        """Tie them together. Raises CommandError."""
        issuer = settings.PORTAL.auth.oidc_issuer
        found = get_user_model()._default_manager.filter(username=user).first()
        if not issuer:
            raise CommandError("auth.oidc_issuer is not configured")
        if found is None:
            raise CommandError(f"there is no user {user!r}")
        identity, new = Identity.objects.get_or_create(issuer=issuer, subject=subject, defaults={"user": found})
        if identity.user_id != found.pk:
            raise CommandError(f"this subject is {identity.user.get_username()} already")
        if new:
            AuditEntry.objects.record("identity_linked", user, subject, by=Sender(means="manage.py link_identity"))
        self.stdout.write(f"{user} is {subject} at {issuer}.")
