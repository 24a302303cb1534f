"""Waiting for what happens elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


def until(ask: Callable[[], Any], seconds: float = 30, what: Callable[[], str] = lambda: "", every: float = 0.05) -> Any:
    """Ask again until the answer is true; returns it. Raises AssertionError, with what `what` says, after so many seconds."""
    end = time.monotonic() + seconds
    while not (answer := ask()):
        assert time.monotonic() < end, f"waited {seconds} s in vain\n{what()}"
        time.sleep(every)
    return answer
