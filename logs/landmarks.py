"""Finds what a reader jumps to: where the builder's steps begin and end, and what looks like an error.

BuildKit's plain progress numbers its steps (`#7 [2/5] RUN …`, `#7 DONE 1.2s`) and puts the number before every line of them,
so nothing that a step prints is taken for one; a heading without brackets follows an empty line, which no step's own line is.
buildah prints `STEP 2/5: RUN …`, docker's old builder `Step 2/5 : RUN …`; there a step ends where the next begins.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import re2

#: At most so many are kept of one segment of an output, and of these so many that look like errors.
LIMIT = 500
ERRORS = 20
_TEXT = 300

_STEPS = rb"^#\d{1,6} (?:\[|DONE|CACHED|ERROR|CANCELED)|\n\n#\d{1,6} |^(?:\[\d+/\d+\] )?STEP \d+(?:/\d+)?: |^Step \d+/\d+ : "
_ERROR_WORDS = (
    rb"rror: |rror:\n|RROR[:!]| error |atal: |anic: |Traceback \(most recent|: not found\b"
    rb"|o such file or directory|ermission denied"
)
_BUILDKIT = re.compile(rb"#(\d{1,6}) (?:(DONE|CACHED|ERROR|CANCELED)\b)?([^\n]*)")
_BUILDAH = re.compile(rb"((?:\[\d+/\d+\] )?STEP \d+(?:/\d+)?|Step \d+/\d+ ): ([^\n]*)")
_ENDS = {b"DONE": "done", b"CACHED": "cached", b"ERROR": "failed", b"CANCELED": "cancelled"}


def _compiled(pattern: bytes) -> Any:
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1  # bytes as they are, whether they are UTF-8 or not
    return re2.compile(b"(?m)" + pattern, options)


#: RE2 goes through a MiB in 2 ms, whatever it holds; Python's own expressions take twenty times that.
_ANY, _STEP = _compiled(_STEPS + b"|" + _ERROR_WORDS), _compiled(_STEPS)


class Landmark(NamedTuple):
    """A place in an output. `line` counts from 0."""

    line: int
    kind: str  # begin, done, cached, failed, cancelled, error
    key: str  # of the step: "#7", "STEP 2/5"
    text: str  # heading, or what was said of the end
    at: int = 0  # milliseconds since 1970; 0: unknown


def find(data: bytes, before: bytes) -> Iterator[tuple[int, str, str, str]]:
    """Yield (offset, kind, key, text) of each landmark in these whole lines, in order; `before`: the two bytes before them."""
    joined = before + data
    expression, at, errors = _ANY, 0, 0
    for _ in range(LIMIT):
        found = expression.search(joined, at)
        if not found:
            return
        start = joined.rfind(b"\n", 0, found.end()) + 1
        end = joined.find(b"\n", start)
        line = joined[start : end if end >= 0 else len(joined)]
        at = start + max(1, len(line))  # not behind the line feed, which begins what follows an empty line
        if start < len(before):
            continue
        step = _step(line, joined[max(0, start - 2) : start])
        if step:
            yield start - len(before), *step
        if _ANY is expression and (not step or step[0] == "failed"):
            yield start - len(before), "error", "", ""
            errors += 1
            expression = _STEP if errors == ERRORS else _ANY


def _step(line: bytes, before: bytes) -> tuple[str, str, str] | None:
    found = _BUILDKIT.match(line)
    if found:
        key = f"#{found[1].decode()}"
        if found[2]:
            return _ENDS[found[2]], key, _text(found[3])
        return ("begin", key, _text(found[3])) if found[3].startswith(b"[") or before == b"\n\n" else None
    found = _BUILDAH.match(line)
    return ("begin", found[1].decode().strip(), _text(found[2])) if found else None


def _text(raw: bytes) -> str:
    return raw[:_TEXT].decode("utf-8", "replace").strip()
