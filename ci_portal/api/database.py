"""Errors that mean that the database is away, locked or full, rather than that the portal asked for something wrong."""

from __future__ import annotations

import sqlite3

from django.db import InterfaceError, OperationalError

#: Errors of MariaDB and MySQL (https://mariadb.com/docs/server/reference/error-codes).
_SERVER = {
    *(2002, 2003, 2006, 2013, 2055),  # no connection, or it was lost
    *(1152, 1158, 1159, 1160, 1161, 1927),  # the server ended it
    *(1040, 1041, 1053),  # too many connections, out of memory, shutting down
    *(1205, 1213, 1317, 1969),  # waited too long for a lock, deadlock, statement ended
    *(1021, 1114),  # disk or table full
    *(1290, 1836),  # read-only
}
#: SQLite's primary result codes (https://www.sqlite.org/rescode.html).
_FILE = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
}


def is_away(error: BaseException | None) -> bool:
    """Whether the same request may succeed once the database is back."""
    if isinstance(error, InterfaceError):  # PEP 249: of a connection that is closed already
        return True
    if not isinstance(error, OperationalError):
        return False
    if isinstance(error.__cause__, sqlite3.Error):
        return getattr(error.__cause__, "sqlite_errorcode", 0) & 0xFF in _FILE  # what Python's own module refuses has no code
    return bool(error.args) and error.args[0] in _SERVER
