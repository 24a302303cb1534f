"""API tokens: what scripts log in with; and the permissions that roles give."""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import models
from django.utils import timezone

from accounts.roles import SCOPES

PREFIX = "cip_"  # lets secret scanners recognise a token that leaked


def digest(key: str) -> str:
    """What is stored of a token: its SHA-256. The token has 256 random bits, so it needs neither salt nor stretching."""
    return hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()


class ApiTokenQuerySet(models.QuerySet["ApiToken"]):
    """Named reads and the one way to make a token."""

    def issue(self, user: Any, name: str, expires_at: datetime | None = None, *, scope: str = "build") -> tuple[ApiToken, str]:
        """Make a token; returns it and its text, which nobody can read again."""
        key = PREFIX + secrets.token_urlsafe(32)
        return self.create(user=user, name=name, digest=digest(key), expires_at=expires_at, scope=scope), key

    def usable(self, key: str) -> ApiToken | None:
        """The token with this text, if it has not expired and its user may still log in."""
        alive = models.Q(expires_at=None) | models.Q(expires_at__gt=timezone.now())
        return self.filter(alive, digest=digest(key), user__is_active=True).select_related("user").first()


class Access(models.Model):
    """No table: what the permissions of `accounts.roles` hang on."""

    class Meta:
        managed = False
        default_permissions = ()
        permissions = [
            ("read", "See everything but secrets"),
            ("build", "Register, check, cancel and retry"),
            ("administer", "Administer the portal"),
        ]

    def __str__(self) -> str:
        return "access"


class ApiToken(models.Model):
    """One token of one user."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="api_tokens")
    name = models.CharField(max_length=100)
    digest = models.CharField(max_length=64, unique=True)
    #: One of accounts.roles.SCOPES. Tokens that were made before there were scopes keep doing what they did.
    scope = models.CharField(max_length=10, choices=[(scope, scope) for scope in SCOPES], default="build", db_default="admin")
    created_at = models.DateTimeField(auto_now_add=True)
    used_at = models.DateTimeField(null=True, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True)  # NULL: never

    objects = ApiTokenQuerySet.as_manager()

    class Meta:
        db_table = "api_token"
        constraints = [models.UniqueConstraint(fields=["user", "name"], name="api_token_name_once_a_user")]

    def __str__(self) -> str:
        return f"{self.name} of {self.user_id}"

    def mark_used(self) -> None:
        """Note the use, to the minute: a busy script must not write a row with each request."""
        now = timezone.now()
        if self.used_at is None or now - self.used_at > timedelta(minutes=1):
            type(self).objects.filter(pk=self.pk).update(used_at=now)
