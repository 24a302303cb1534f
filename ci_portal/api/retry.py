"""Transactions that the database asks to be tried again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from django.db import OperationalError, transaction

from ci_portal.api.connections import release_connection

T = TypeVar("T")

#: Seconds that one waits in this process for those who came before.
TURN_SECONDS = 60.0

#: MariaDB's "Deadlock found" and "Lock wait timeout exceeded"; both roll back and ask to try again.
LOCK_WAIT = 1205
TRY_AGAIN = {1213, LOCK_WAIT}
#: After so many seconds there is no further try: a client waits, and MariaDB alone may take 50 s to give a lock up.
ENOUGH_SECONDS = 20


def in_transaction(work: Callable[[], T], tries: int = 6) -> T:
    """Run `work` in one transaction, again from its start where the database gave way to another transaction.

    Raises what `work` raises, and OperationalError when the last try was turned away too.
    """
    begun = time.monotonic()
    for turn in range(tries):
        try:
            with transaction.atomic():
                return work()
        except OperationalError as error:
            last = turn + 1 == tries or time.monotonic() - begun > ENOUGH_SECONDS
            if last or not error.args or error.args[0] not in TRY_AGAIN:
                raise
            time.sleep(0.02 * 2**turn)
    raise AssertionError("unreachable")


class InTurn:
    """Transactions that wait for the same row of the database: one after the other within this process.

    Who waits here holds no connection and no lock. Waiting in the database instead, a hundred requests would keep as many of its
    connections, and InnoDB turns away who has waited for 50 seconds.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        release_connection()
        if not self._lock.acquire(timeout=TURN_SECONDS):
            raise OperationalError(LOCK_WAIT, f"those who came before were not done within {TURN_SECONDS:g} s")

    def __exit__(self, *_: object) -> None:
        self._lock.release()
