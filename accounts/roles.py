"""Who may do how much: three levels, which roles give to users and scopes to tokens (SPEC section 7)."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from rest_framework.request import Request


class Level(IntEnum):
    """What somebody may do; each level includes those before it."""

    NONE = 0
    READ = 1  # see everything but secrets
    BUILD = 2  # register and check repositories, cancel and retry builds, record what happened elsewhere
    ADMIN = 3  # change credentials and where the source is, delete, reconcile


#: Group name → level. The groups are made by a migration; each has the permission of its level.
ROLES = {"viewer": Level.READ, "builder": Level.BUILD, "admin": Level.ADMIN}
#: Permission (app label `accounts`) → level. A group of one's own may carry any of them.
PERMISSIONS = {"read": Level.READ, "build": Level.BUILD, "administer": Level.ADMIN}
#: A token's scope → level. A token never does more than its user may.
SCOPES = {"read": Level.READ, "build": Level.BUILD, "admin": Level.ADMIN}


def role_name(level: Level) -> str:
    """The role that gives this level, for people."""
    return next((name for name, given in ROLES.items() if given == level), "no role")


def level_of_user(user: Any) -> Level:
    """What a user may do: a superuser everything, others what their permissions give. Two queries, once a request."""
    if user is None or not user.is_authenticated or not user.is_active:
        return Level.NONE
    return max((level for name, level in PERMISSIONS.items() if user.has_perm(f"accounts.{name}")), default=Level.NONE)


def level_of(request: Request | HttpRequest) -> Level:
    """What the sender of this request may do. `auth.mode` open: everything, but a token keeps its scope."""
    token = getattr(request, "auth", None)
    scope = SCOPES[token.scope] if token is not None else Level.ADMIN
    if settings.PORTAL.auth.mode == "open":
        return scope
    return min(scope, level_of_user(request.user))
