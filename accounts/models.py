"""API tokens, sessions, the permissions that roles give, and what keeps count: of requests, of failed logins, of changes."""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib.sessions.backends.base import SessionBase
from django.contrib.sessions.base_session import AbstractBaseSession
from django.db import models
from django.utils import timezone
from django.utils.crypto import salted_hmac

from accounts.roles import SCOPES
from accounts.sender import Sender, sender

PREFIX = "cip_"  # lets secret scanners recognise a token that leaked
#: So many characters of a token's 43 are kept, for its owner to recognise it by.
SHOWN = 4


def digest(key: str) -> str:
    """What is stored of a token: its SHA-256. The token has 256 random bits, so it needs neither salt nor stretching."""
    return hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()


class ApiTokenQuerySet(models.QuerySet["ApiToken"]):
    """Named reads and the one way to make a token."""

    def issue(self, user: Any, name: str, expires_at: datetime | None = None, *, scope: str = "build") -> tuple[ApiToken, str]:
        """Make a token; returns it and its text, which nobody can read again."""
        key = PREFIX + secrets.token_urlsafe(32)
        start = key[: len(PREFIX) + SHOWN]
        return self.create(user=user, name=name, digest=digest(key), start=start, expires_at=expires_at, scope=scope), key

    def with_key(self, key: str) -> ApiToken | None:
        """The token with this text, whether or not it is still good.

        The index compares a SHA-256, whose next byte nobody can choose; the last word is a comparison in constant time.
        """
        found = self.filter(digest=digest(key)).select_related("user").first()
        return found if found is not None and secrets.compare_digest(found.digest, digest(key)) else None


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
    used_from = models.CharField(max_length=45, blank=True, default="", db_default="")  # an IP address
    start = models.CharField(max_length=12, blank=True, default="", db_default="")  # its first characters; "": an older token
    expires_at = models.DateTimeField(null=True, blank=True)  # NULL: never

    objects = ApiTokenQuerySet.as_manager()

    class Meta:
        db_table = "api_token"
        constraints = [models.UniqueConstraint(fields=["user", "name"], name="api_token_name_once_a_user")]

    def __str__(self) -> str:
        return f"{self.name} of {self.user_id}"

    def title(self) -> str:
        """Whose and which it is, for the audit."""
        return f"{self.user.get_username()}: {self.name}"

    @property
    def has_expired(self) -> bool:
        """Whether its time is over."""
        return self.expires_at is not None and self.expires_at <= timezone.now()

    def mark_used(self, address: str) -> None:
        """Note the use and from where, to the minute: a busy script must not write a row with each request."""
        now = timezone.now()
        if self.used_at is None or now - self.used_at > timedelta(minutes=1):
            type(self).objects.filter(pk=self.pk).update(used_at=now, used_from=address)


class BrowserSession(AbstractBaseSession):
    """One session of one browser; `accounts.sessions` keeps it."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.CASCADE, related_name="browser_sessions")
    created_at = models.DateTimeField(default=timezone.now)
    seen_at = models.DateTimeField(default=timezone.now)
    address = models.CharField(max_length=45, blank=True, default="", db_default="")
    agent = models.CharField(max_length=300, blank=True, default="", db_default="")  # the User-Agent header

    class Meta(AbstractBaseSession.Meta):
        db_table = "browser_session"
        abstract = False

    @classmethod
    def get_session_store_class(cls) -> type[SessionBase]:
        """What reads and writes these rows."""
        from accounts.sessions import SessionStore

        return SessionStore

    @property
    def handle(self) -> str:
        """Names the session on a page. Its key would let whoever reads it take the session over."""
        return salted_hmac("accounts.session", self.session_key, algorithm="sha256").hexdigest()[:24]


class Identity(models.Model):
    """Who a user is at the OpenID Connect provider: its issuer's `sub`, which never changes and is never given to another."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="identities")
    issuer = models.CharField(max_length=255)
    subject = models.CharField(max_length=255)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "oidc_identity"
        constraints = [models.UniqueConstraint(fields=["issuer", "subject"], name="oidc_identity_once")]

    def __str__(self) -> str:
        return f"{self.subject} at {self.issuer}"


class Rate(models.Model):
    """One allowance of one sender (`accounts.limits`)."""

    key = models.CharField(max_length=150, primary_key=True)
    due = models.BigIntegerField(db_index=True)  # milliseconds since 1970: when the allowance is whole again

    class Meta:
        db_table = "rate_limit"

    def __str__(self) -> str:
        return self.key


class Attempts(models.Model):
    """Failed logins (`accounts.lockout`) of a user, from an address, or of a user from an address; "" is any."""

    username = models.CharField(max_length=150, blank=True, default="")
    address = models.CharField(max_length=60, blank=True, default="")
    count = models.PositiveIntegerField(default=0)
    since = models.DateTimeField(db_index=True)

    class Meta:
        db_table = "login_attempts"
        constraints = [models.UniqueConstraint(fields=["username", "address"], name="login_attempts_once")]

    def __str__(self) -> str:
        return f"{self.count} of {self.username or 'anybody'} from {self.address or 'anywhere'}"


class AuditQuerySet(models.QuerySet["AuditEntry"]):
    """The one way to write the audit."""

    def record(self, action: str, target: str = "", detail: str = "", *, by: Sender | None = None, actor: str = "") -> AuditEntry:
        """Write who did what, from where and by what; `actor`: who, where the request does not tell. No secrets in `detail`."""
        who = by or sender()
        return self.create(
            action=action,
            target=target[:200],
            detail=detail,
            actor=(actor or who.actor)[:150],
            means=who.means[:120],
            address=who.address,
            request_id=who.request_id,
        )


class AuditEntry(models.Model):
    """One thing that somebody did. Nothing changes or deletes these rows but retention."""

    at = models.DateTimeField(auto_now_add=True, db_index=True)
    actor = models.CharField(max_length=150, blank=True, default="")  # a user name; "": whoever has not logged in
    means = models.CharField(max_length=120, blank=True, default="")  # session, token <name>, manage.py <command>, anonymous
    address = models.CharField(max_length=45, blank=True, default="")
    action = models.CharField(max_length=40)  # one of accounts.audit.ACTIONS
    target = models.CharField(max_length=200, blank=True, default="")  # a user, token or repository, by its name
    detail = models.TextField(blank=True, default="")  # what changed, old → new
    request_id = models.CharField(max_length=64, blank=True, default="")

    objects = AuditQuerySet.as_manager()

    class Meta:
        db_table = "audit"
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["actor", "id"], name="audit_actor"),
            models.Index(fields=["action", "id"], name="audit_action"),
            models.Index(fields=["target", "id"], name="audit_target"),
        ]

    def __str__(self) -> str:
        return f"{self.actor or 'somebody'} {self.action} {self.target}"
