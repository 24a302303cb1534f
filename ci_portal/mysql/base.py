"""Django's MySQL backend, whose connections come from a pool and go back to it (docs/decisions/0018-database-connections.md).

Each request is a greenlet of its own, for which Django would open a connection of its own: some hundred requests at once would be
refused by a database that serves 151 (MariaDB's max_connections), and each would pay for logging in.
"""

from __future__ import annotations

import os
import threading
from typing import Any

import pymysql
from django.db import OperationalError
from django.db.backends.mysql import base
from pymysql.constants import SERVER_STATUS
from sqlalchemy import event
from sqlalchemy.dialects.mysql.pymysql import MySQLDialect_pymysql
from sqlalchemy.exc import TimeoutError as NoneIsFree
from sqlalchemy.pool import QueuePool

#: Connections of one process: so many stay open, so many there are at most.
KEPT = 8
MOST = 40
#: Seconds that one waits for a connection when all are in use; seconds after which one is opened anew.
WAIT_SECONDS = 30
OLD_SECONDS = 1800
#: "Too many connections", as the database itself says it.
TOO_MANY = 1040

_pools: dict[tuple[object, ...], QueuePool] = {}
_lock = threading.Lock()
os.register_at_fork(after_in_child=lambda: _pools.clear())  # two processes must not speak over one connection


class DatabaseWrapper(base.DatabaseWrapper):  # type: ignore[misc,unused-ignore]
    """A connection to the database, taken out of the process's pool; `close` puts it back."""

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """One that works. Raises OperationalError where the database is away, or all stay in use for WAIT_SECONDS."""
        where = tuple(conn_params.get(name) for name in ("host", "port", "unix_socket", "user", "database"))
        with _lock:
            pool = _pools.get(where)
            if pool is None:
                pool = _pools[where] = self._pool(conn_params)
        try:
            return pool.connect()
        except NoneIsFree:
            raise OperationalError(TOO_MANY, f"all {MOST} connections of this process are in use") from None

    def init_connection_state(self) -> None:
        """Set the session up once for each connection, not each time that it comes out of the pool."""
        if not self.connection.info.get("is_set_up"):
            super().init_connection_state()
            self.connection.info["is_set_up"] = True

    def _start_transaction_under_autocommit(self) -> None:
        """Begin a transaction by one statement; Django would turn autocommit off before each, and on again after it."""
        self.cursor().execute("BEGIN")

    def _pool(self, conn_params: dict[str, Any]) -> QueuePool:
        def connect() -> Any:
            return super(DatabaseWrapper, self).get_new_connection(conn_params)

        pool = QueuePool(
            connect,
            pool_size=KEPT,
            max_overflow=MOST - KEPT,
            timeout=WAIT_SECONDS,
            recycle=OLD_SECONDS,
            pre_ping=True,  # a database that was started anew has closed those that waited here
            dialect=MySQLDialect_pymysql(dbapi=pymysql),
            reset_on_return=None,
        )
        event.listen(pool, "reset", _end_transaction)
        return pool


def _end_transaction(connection: Any, *_: object) -> None:
    """Roll back what whoever gives the connection back has left open; usually nothing, and then nothing is asked."""
    if connection.server_status & SERVER_STATUS.SERVER_STATUS_IN_TRANS:
        connection.rollback()
