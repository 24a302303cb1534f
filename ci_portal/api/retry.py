"""Transactions that the database asks to be tried again."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from django.db import OperationalError, transaction

T = TypeVar("T")

#: MariaDB's "Deadlock found" and "Lock wait timeout exceeded"; both roll back and ask to try again.
TRY_AGAIN = {1213, 1205}
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
