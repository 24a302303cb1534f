"""The database's connections, of which a process has only so many (ci_portal.mysql)."""

from __future__ import annotations

from collections.abc import Iterator

from django.db import connection


def release_connection() -> None:
    """Hold no connection to the database while something else is waited for; the next query takes one again."""
    if not connection.in_atomic_block:
        connection.close()


def without_connection(parts: Iterator[bytes]) -> Iterator[bytes]:
    """Hold none while a client, who may be slow, takes each part in."""
    for part in parts:
        release_connection()
        yield part
