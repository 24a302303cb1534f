"""System checks: what `manage.py check` (and every start) says about where the portal runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Tags, Warning, register

#: SQLite versions that have the fix: this one and later, and the two older lines that it was brought back to.
WAL_RESET_FIXED = (3, 51, 3)
WAL_RESET_BACKPORTS = ((3, 50, 7), (3, 44, 6))


def has_wal_reset_bug(version: tuple[int, ...]) -> bool:
    """Whether this SQLite can corrupt a WAL database with several writers (https://www.sqlite.org/wal.html#walresetbug)."""
    backported = any(version[:2] == fixed[:2] and version >= fixed for fixed in WAL_RESET_BACKPORTS)
    return version < WAL_RESET_FIXED and not backported


@register(Tags.compatibility)
def sqlite_is_sound(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Name a SQLite with the WAL-reset bug, where the portal runs on SQLite."""
    version = tuple(settings.SQLITE_VERSION)
    if settings.PORTAL.database.engine != "sqlite" or not has_wal_reset_bug(version):
        return []
    name = ".".join(map(str, version))
    return [
        Warning(
            f"SQLite {name} has the WAL-reset bug: in rare cases, with several writers at once, it can damage the database.",
            hint="Use a Python with SQLite 3.51.3 or newer (or 3.50.7, 3.44.6), or MariaDB (database.engine = mysql); until then"
            " keep backups.",
            id="ci_portal.W001",
        )
    ]


@register(Tags.security, deploy=True)
def somebody_must_log_in(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Name a portal that lets everyone do everything, outside development (SPEC section 7)."""
    if settings.PORTAL.auth.mode != "open" or settings.PORTAL.development:
        return []
    return [
        Warning(
            "auth.mode is open: everyone who reaches the portal may do everything.",
            hint="Set auth.mode to required, or let only trusted people reach it.",
            id="ci_portal.W002",
        )
    ]
