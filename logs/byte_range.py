"""`Range: bytes=…` of a resource whose size is known (RFC 9110, section 14)."""

from __future__ import annotations

import re

_SINGLE = re.compile(r"bytes\s*=\s*(\d{0,99})\s*-\s*(\d{0,99})", re.ASCII | re.IGNORECASE)


class Unsatisfiable(Exception):
    """The range lies outside of the resource: 416."""


def parse(header: str, size: int) -> tuple[int, int] | None:
    """The first byte and the one after the last. None where the header is to be ignored: malformed, other units, several ranges.

    Raises Unsatisfiable.
    """
    found = _SINGLE.fullmatch(header.strip())
    if not found or not any(found.groups()):
        return None
    first, last = found.groups()
    if not first:
        if not int(last) or not size:
            raise Unsatisfiable
        return max(0, size - int(last)), size
    start = int(first)
    if last and int(last) < start:
        return None
    if start >= size:
        raise Unsatisfiable
    return start, min(size, int(last) + 1) if last else size
