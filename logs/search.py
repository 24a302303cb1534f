"""Looks for text in the whole of an output: as it is read, without escape sequences, at a bounded cost.

Regular expressions are RE2's, which take time in proportion to the text whatever the expression is. A search works through about a
MiB, tells what it found, and leaves the processor to others for as long as that took.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import re2

from logs.line_index import Index, steps
from logs.reading import read

#: Longest text that is searched for.
LONGEST_QUERY = 500
#: Seconds after which a search stops; it can be continued from the line that it has reached.
SECONDS = 15.0
#: Line numbers that one search tells; the others are counted.
TOLD = 20_000
#: Bytes that are looked through at a time.
BLOCK = 512 << 10
#: Searches that one process works on at a time.
AT_ONCE = 4

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]?|[\]PX^_][^\x07\x1b\n]*(?:\x07|\x1b\\)?|[ -/]*[0-~]?)")
_OVERWRITTEN = re.compile(r"^[^\n]*\r(?=[^\n\r])", re.MULTILINE)
_slots = threading.BoundedSemaphore(AT_ONCE)


class BadExpression(ValueError):
    """What RE2 says of a regular expression that it does not take."""


class Matcher:
    """Finds the lines of a text that match."""

    def __init__(self, query: str, case: bool = False, word: bool = False, regex: bool = False) -> None:
        """Raises BadExpression."""
        self._case, self._word, self._regex = case, word, regex
        self._query = query if case else query.lower()
        self._expression = _compiled(query, case, word) if regex else None

    def lines(self, text: str) -> Iterator[int]:
        """Yield the number, from 0, of each line of `text` that matches."""
        if self._expression is not None:
            yield from self._matching(text.encode())
            return
        text = text if self._case else text.lower()
        at = line = 0
        while (hit := text.find(self._query, at)) >= 0:
            if self._word and not self._is_word(text, hit):
                line += text.count("\n", at, hit + 1)
                at = hit + 1
                continue
            line += text.count("\n", at, hit)
            yield line
            at = text.find("\n", hit) + 1
            if not at:
                return
            line += 1

    def _is_word(self, text: str, start: int) -> bool:
        end = start + len(self._query)
        return not (_joins(text[start - 1 : start]) and _joins(text[start])) and not (
            _joins(text[end : end + 1]) and _joins(text[end - 1])
        )

    def _matching(self, data: bytes) -> Iterator[int]:
        search: Any = self._expression.search  # type: ignore[union-attr]
        at = line = 0
        while at <= len(data) and (hit := search(data, at)):
            start = hit.start()
            end = data.find(b"\n", start)
            end = len(data) if end < 0 else end
            line += data.count(b"\n", at, start)
            begin = data.rfind(b"\n", 0, start) + 1
            if begin < len(data) and (hit.end() <= end or search(data[begin:end])):
                yield line
            at = end + 1
            line += 1


def _joins(character: str) -> bool:
    return character.isalnum() or character == "_"


def _compiled(query: str, case: bool, word: bool) -> Any:
    options = re2.Options()
    options.log_errors = False
    options.case_sensitive = case
    try:
        return re2.compile(f"(?m)\\b(?:{query})\\b" if word else f"(?m)(?:{query})", options)
    except re2.error as error:
        said = error.args[0] if error.args else ""
        raise BadExpression(said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)) from None


def shown(data: bytes) -> str:
    """The text of whole lines as it is read: without escape sequences; of a progress bar what was drawn last."""
    text = data.decode("utf-8", "replace")
    if "\r" in text:
        text = _OVERWRITTEN.sub("", text.replace("\r\n", "\n"))
    return _ESCAPES.sub("", text) if "\x1b" in text else text


@dataclass(frozen=True, slots=True)
class Progress:
    """What a search has found since it last told something."""

    lines: list[int]  # numbers, from 0
    total: int  # lines that match, so far
    at: int  # the line that comes next
    offset: int  # and where it begins
    done: bool = False
    busy: bool = False  # nothing was searched: as many searches as may run are running


def search(index: Index, matcher: Matcher, start: int = 0, offset: int = 0) -> Iterator[Progress]:
    """Search from line `start`, which begins at `offset`, to the end; yield what was found as it is found, and a last Progress."""
    if not _slots.acquire(blocking=False):
        yield Progress([], 0, start, offset, busy=True)
        return
    try:
        yield from _search(index, matcher, Progress([], 0, start, offset))
    finally:
        _slots.release()


def _search(index: Index, matcher: Matcher, at: Progress) -> Iterator[Progress]:
    until = time.monotonic() + SECONDS
    told = 0
    for block, count in _blocks(index, at.offset):
        began = time.monotonic()
        found = [at.at + line for line in matcher.lines(shown(block)) if line < count]
        lines = found[: TOLD - told]
        told += len(lines)
        at = Progress(lines, at.total + len(found), at.at + count, at.offset + len(block))
        yield at
        if time.monotonic() > until:
            return
        time.sleep(time.monotonic() - began)
    yield Progress([], at.total, at.at, at.offset, done=True)


def _blocks(index: Index, offset: int) -> Iterator[tuple[bytes, int]]:
    """Whole lines, about BLOCK bytes of them, and how many; a line that was cut for its length ends a block.

    A last line that is not ended yet is left to the search that goes on from it.
    """
    size, position, rest = index.output.size, offset, b""
    for piece in read(index.output, offset, size):
        rest += piece
        position += len(piece)
        if len(rest) < BLOCK and position < size:
            continue
        start = end = lines = 0
        for _, end, count in steps(rest, index.closed and position >= size):
            lines += count
            if end - start >= BLOCK or rest[end - 1 : end] != b"\n":
                yield rest[start:end], lines
                start, lines = end, 0
        if lines:
            yield rest[start:end], lines
        rest = rest[end:]
