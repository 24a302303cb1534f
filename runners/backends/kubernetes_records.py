"""From the kubelet's time-stamped log lines to what a container printed: pure, a block at a time, resumable at any byte.

The kubelet puts `2026-01-02T03:04:05.678901234Z ` before each line, always with nine digits, in the node's time zone. Lines
of more than 16 KiB are joined again by it; the last line may lack its newline, where the program printed none.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

_STAMP = rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}(?:Z|[+-]\d\d:\d\d)) "
STAMP = re.compile(rb"^" + _STAMP, re.M)
#: The same behind a line feed: what begins with a letter is found several times as fast.
_AFTER_FEED = re.compile(rb"\n" + _STAMP)
#: With what the kubelet ends an answer that it can't go on with (cri-client's ReadLogs), with no newline, also within a line.
_WORDS = re.compile(
    rb"(?:failed to (?:try resolving symlinks in path|open log file|read log file|reset seek in log file|create fsnotify watcher"
    rb"|watch directory) ?[\":]|unable to retrieve container logs for )[^\n]*\Z"
)
STAMP_BYTES = 36  # at most, with the space
#: When a log is rotated, containerd goes on writing to the old file for a moment after it began the new one, so the stamps of
#: the two overlap: by no more than this, in which no more than _OVERLAP_BYTES are printed.
OVERLAP = timedelta(seconds=1)
_OVERLAP_BYTES = 4 << 20


@dataclass(slots=True)
class Cursor:
    """Where reading stands: in which pod, behind which line, and how many bytes the container's output had up to there."""

    pod: str = ""
    restarts: int = 0
    stamp: bytes = b""  # of the last line that was read, as printed
    lines: int = 0  # complete lines read with that stamp
    partial: int = 0  # bytes read of a line after them, with that stamp too, that is not complete yet
    total: int = 0  # bytes read in all

    def __str__(self) -> str:
        return f"{self.pod}/{self.restarts}/{self.stamp.decode()}/{self.lines}/{self.partial}/{self.total}"

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """The inverse of str(); "" is the beginning."""
        if not text:
            return cls()
        pod, restarts, stamp, *numbers = text.split("/")
        return cls(pod, int(restarts), stamp.encode(), *map(int, numbers))

    @property
    def since(self) -> str:
        """For the API's sinceTime, which counts in whole seconds; "" where nothing was read yet.

        OVERLAP earlier than what was read, since the first lines of the next file may be older than that.
        """
        if not self.stamp:
            return ""
        return (moment(self.stamp) - OVERLAP).replace(microsecond=0).isoformat().replace("+00:00", "Z")


class Records:
    """Reads one answer of the log endpoint. `feed` returns what the container printed; `cursor` is always where that ends.

    `whole`: the file that the cursor lies in was read to its end, so an answer without the cursor's line is that of the next one.
    """

    def __init__(self, cursor: Cursor, whole: bool = False) -> None:
        self.cursor = cursor
        self.first = b""  # stamp of the answer's first line
        self.limit: datetime | None = None  # what was printed later is another file's
        self.passed = False  # came to a line beyond the limit, and read no further
        self.printed_at: datetime | None = None  # of the first byte that the last `feed` returned
        self.gap = False  # the last `feed` found the cursor's line gone: lines before what it returned may be missing
        self.foreign = False  # came to a line without a stamp: the API server's own words, nothing that the container printed
        self._held = b""  # the beginning of a line, too short to be understood
        self._inside = False  # the stamp of the current line was read, its newline not yet
        self._whole = whole
        self._behind = bool(cursor.stamp)  # the cursor's line has not turned up yet
        self._older: bytes | None = b""  # lines not newer than the cursor's, until that has turned up; None: too many
        self._skip = cursor.lines  # lines with the cursor's stamp that were read before
        self._drop = 0  # bytes of the current line that were read before

    def feed(self, data: bytes) -> bytes:
        """The bytes that the container printed in this block, as far as they are new."""
        self.printed_at, self.gap = None, False
        if self.foreign or self.passed:
            return b""
        data = self._held + data
        self._held = b""
        if not self.first and (begun := STAMP.match(data)):
            self.first = begun[1]
        if self._behind:
            data = self._find(data)
        content = b""
        if self._inside and data:
            content, data = self._rest_of_line(data)
        if data:
            content += self._lines(self._within(data))
        self.cursor.total += len(content)
        return content

    def _rest_of_line(self, data: bytes) -> tuple[bytes, bytes]:
        """(what is new of the line that we are in, the lines after it)."""
        end = data.find(b"\n") + 1
        line, after = (data[:end], data[end:]) if end else (self._without_words(data), b"")
        known = min(self._drop, len(line))
        self._drop -= known
        if known < len(line):
            self.printed_at = moment(self.cursor.stamp)
        if end:
            self._inside = False
            self.cursor.lines, self.cursor.partial = self.cursor.lines + 1, 0
        else:
            self.cursor.partial += len(line) - known
        return line[known:], after

    def _within(self, data: bytes) -> bytes:
        """The lines up to the limit."""
        if self.limit is None:
            return data
        begun = data.rfind(b"\n") + 1
        for start in (begun, data.rfind(b"\n", 0, max(begun - 1, 0)) + 1):  # stamps rise: the last one says it of all
            if (found := STAMP.match(data, start)) and moment(found[1]) <= self.limit:
                return data
        for found in STAMP.finditer(data):
            if moment(found[1]) > self.limit:
                self.passed = True
                return data[: found.start()]
        return data

    def _lines(self, data: bytes) -> bytes:
        """Whole lines, and what there is of one that is not complete."""
        end = data.rfind(b"\n") + 1
        content, stamps = _without_stamps(data[:end])
        if stamps != data.count(b"\n", 0, end):
            self.foreign = True
            end = _first_foreign(data)
            content = _without_stamps(data[:end])[0]
        if end:
            self.printed_at = self.printed_at or moment(data[: data.index(b" ")])
            self._count(data, end)
        return content if self.foreign else content + self._begin_line(data[end:])

    def _without_words(self, data: bytes) -> bytes:
        """The part of a line that is not complete, without the kubelet's words after it."""
        found = _WORDS.search(data)
        self.foreign = self.foreign or found is not None
        return data[: found.start()] if found else data

    def _begin_line(self, rest: bytes) -> bytes:
        begun = STAMP.match(rest)
        if begun is None:
            self.foreign = len(rest) >= STAMP_BYTES
            self._held = rest
            return b""
        self.printed_at = self.printed_at or moment(begun[1])
        if begun[1] != self.cursor.stamp:
            self.cursor.stamp, self.cursor.lines = begun[1], 0
        content = self._without_words(rest[begun.end() :])
        self._inside, self.cursor.partial = True, len(content)
        return content

    def _count(self, data: bytes, end: int) -> None:
        """Move the cursor behind the last whole line: its stamp, and how many of the last lines have it."""
        start = data.rfind(b"\n", 0, end - 1) + 1
        stamp = data[start : data.index(b" ", start)]
        lines = 1
        while start:
            start = data.rfind(b"\n", 0, start - 1) + 1
            if not data.startswith(stamp + b" ", start):
                break
            lines += 1
        else:
            lines += self.cursor.lines if stamp == self.cursor.stamp else 0
        self.cursor.stamp, self.cursor.lines, self.cursor.partial = stamp, lines, 0

    def _find(self, data: bytes) -> bytes:
        """What comes after the cursor, once that has turned up. sinceTime brings up to a second of lines before it again."""
        mark = self.cursor.stamp + b" "
        at = 0 if data.startswith(mark) else data.find(b"\n" + mark) + 1
        if not at and not data.startswith(mark):
            return self._not_here(data)
        self._older, data = b"", data[at:]
        while self._skip and data.startswith(mark):
            end = data.find(b"\n") + 1
            if not end:
                self._held = data[: len(mark)]  # what it says is known; only its end counts
                return b""
            data = data[end:]
            self._skip -= 1
        if self._skip and len(data) < STAMP_BYTES:
            self._held = data
            return b""
        if self.cursor.partial and not self._skip:
            if len(data) < len(mark):
                self._held = data
                return b""
            if data.startswith(mark):
                data = data[len(mark) :]
                self._inside, self._drop = True, self.cursor.partial
        self._behind = False
        return data

    def _not_here(self, data: bytes) -> bytes:
        """Pass over older lines. A newer one means that this is not the cursor's file but a later one: all of it is new."""
        seen = moment(self.cursor.stamp)
        start = 0
        while start < len(data):
            found = STAMP.match(data[start : start + STAMP_BYTES])
            if found is None and len(data) - start >= STAMP_BYTES:
                self.foreign = True
                return b""
            if found and moment(found[1]) > seen:
                self._behind, self.gap = False, not self._whole or self._older is None
                self.cursor.stamp, self.cursor.lines, self.cursor.partial = b"", 0, 0
                return data[start:] if self._older is None else self._older + data
            end = data.find(b"\n", start) + 1
            if not end:
                break
            start = end
        if self._older is not None:
            self._older = self._older + data[:start] if len(self._older) + start <= _OVERLAP_BYTES else None
        self._held = data[start:]
        return b""


def moment(stamp: bytes) -> datetime:
    """The time of a stamp, UTC; Python has microseconds only."""
    text = stamp.decode()
    return datetime.fromisoformat(text[:26] + text[29:]).astimezone(UTC)


def _without_stamps(lines: bytes) -> tuple[bytes, int]:
    """What whole lines say, and how many of them have a stamp."""
    content, stamps = _AFTER_FEED.subn(b"\n", b"\n" + lines)
    return content[1:], stamps


def _first_foreign(data: bytes) -> int:
    """Offset of the first line without a stamp."""
    start = 0
    while (found := STAMP.match(data[start : start + STAMP_BYTES])) and (end := data.find(b"\n", start + found.end()) + 1):
        start = end
    return start
