"""Watching whether this process starts another or speaks to anybody, by CPython's audit events (PEP 578)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings

#: https://docs.python.org/3/library/audit_events.html: whatever starts a process, looks a name up or sends to an address.
_EVENTS = {
    "os.exec",
    "os.fork",
    "os.forkpty",
    "os.posix_spawn",
    "os.spawn",
    "os.system",
    "pty.spawn",
    "socket.connect",
    "socket.getaddrinfo",
    "socket.gethostbyaddr",
    "socket.gethostbyname",
    "socket.getnameinfo",
    "socket.sendmsg",
    "socket.sendto",
    "subprocess.Popen",
}
_seen: list[str] | None = None
_installed = False


def _is_the_database(arguments: tuple[object, ...]) -> bool:
    """A thread of the pool may connect to the test's own database server at any time: that leaves nothing."""
    port = settings.DATABASES["default"].get("PORT")
    return bool(port) and any(
        argument in (port, str(port)) or (isinstance(argument, tuple) and len(argument) > 1 and str(argument[1]) == str(port))
        for argument in arguments
    )


def _note(event: str, arguments: tuple[object, ...]) -> None:
    if _seen is not None and event in _EVENTS and not _is_the_database(arguments):
        _seen.append(f"{event} {arguments!r:.200}")


@contextmanager
def watched() -> Iterator[list[str]]:
    """What leaves this process meanwhile, from any of its threads."""
    global _seen, _installed
    if not _installed:  # a hook can't be taken out again
        sys.addaudithook(_note)
        _installed = True
    _seen = []
    try:
        yield _seen
    finally:
        _seen = None
