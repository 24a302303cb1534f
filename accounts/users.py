"""What becomes of users: role, whether they may log in, the link with which they choose a password. Each change is audited."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.hashers import UNUSABLE_PASSWORD_PREFIX
from django.contrib.auth.models import Group
from django.contrib.auth.tokens import default_token_generator
from django.db import transaction
from django.db.models import Q
from django.urls import reverse
from django.utils.encoding import force_bytes
from django.utils.http import urlsafe_base64_encode

from accounts import sessions
from accounts.models import AuditEntry
from accounts.roles import ROLES, Level, level_of_user, role_name
from accounts.sender import Sender


class LastAdmin(Exception):
    """Nobody else could administer the portal."""


def role_of(user: Any) -> str:
    """The name of a user's role, "" for none. Disabled users keep theirs."""
    if user.is_superuser:
        return "admin"
    named = [group.name for group in user.groups.all() if group.name in ROLES]
    return max(named, key=lambda name: ROLES[name], default="")


def _lock_admins() -> None:
    """Let nobody else change an admin before this transaction is over."""
    list(Group.objects.select_for_update().filter(name="admin"))


def _refuse_last_admin(user: Any) -> None:
    """Raise LastAdmin where no other admin has ever been able to log in: a link that nobody has followed yet is none."""
    may = Q(is_superuser=True) | Q(groups__permissions__codename="administer") | Q(user_permissions__codename="administer")
    others = get_user_model()._default_manager.filter(may, is_active=True).exclude(pk=user.pk)
    if (
        level_of_user(user) == Level.ADMIN
        and not others.exclude(password__startswith=UNUSABLE_PASSWORD_PREFIX, last_login=None).exists()
    ):
        raise LastAdmin


def set_role(user: Any, role: str, *, by: Sender | None = None, actor: str = "") -> bool:
    """Give a user this role ("": none) and no other; their sessions end. Returns whether it changed. Raises LastAdmin."""
    with transaction.atomic():
        _lock_admins()
        old = role_of(user)
        if old == role:
            return False
        if role != "admin":
            _refuse_last_admin(user)
            type(user)._default_manager.filter(pk=user.pk).update(is_superuser=False, is_staff=False)
        user.groups.set([*user.groups.exclude(name__in=ROLES), *Group.objects.filter(name=role)])
        sessions.end(user)
        change = f"role: {old or role_name(Level.NONE)} → {role or role_name(Level.NONE)}"
        AuditEntry.objects.record("role_changed", user.get_username(), change, by=by, actor=actor)
    return True


def disable(user: Any) -> None:
    """Let a user log in no more; sessions end, tokens open nothing. Raises LastAdmin."""
    with transaction.atomic():
        _lock_admins()
        _refuse_last_admin(user)
        if type(user)._default_manager.filter(pk=user.pk, is_active=True).update(is_active=False):
            sessions.end(user)
            AuditEntry.objects.record("user_disabled", user.get_username())


def enable(user: Any) -> None:
    """Let a user log in again."""
    if type(user)._default_manager.filter(pk=user.pk, is_active=False).update(is_active=True):
        AuditEntry.objects.record("user_enabled", user.get_username())


def create(name: str, role: str) -> Any:
    """Make a user without a password; a link lets them choose one."""
    with transaction.atomic():
        user = get_user_model()._default_manager.create_user(name)
        user.groups.set(Group.objects.filter(name=role))
        AuditEntry.objects.record("user_created", name, f"role: {role}")
    return user


def password_link(user: Any) -> str:
    """The path of a page where whoever has it chooses the user's password, once, within a day. The audit says that it was made."""
    AuditEntry.objects.record("link_made", user.get_username())
    uid = urlsafe_base64_encode(force_bytes(user.pk))
    return reverse("choose-password", args=[uid, default_token_generator.make_token(user)])
