"""Transactions that the database asks to be tried again."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from django.db import OperationalError, transaction

T = TypeVar("T")

#: MariaDB's "Deadlock found" and "Lock wait timeout exceeded"; both roll back and ask to try again.
TRY_AGAIN = {1213, 1205}


def in_transaction(work: Callable[[], T], tries: int = 6) -> T:
    """Run `work` in one transaction, again from its start where the database gave way to another transaction.

    Raises what `work` raises, and OperationalError when the last try was turned away too.
    """
    for turn in range(tries):
        try:
            with transaction.atomic():
                return work()
        except OperationalError as error:
            if not error.args or error.args[0] not in TRY_AGAIN or turn + 1 == tries:
                raise
            time.sleep(0.02 * 2**turn)
    raise AssertionError("unreachable")
