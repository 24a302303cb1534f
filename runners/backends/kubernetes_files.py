"""The files that the kubelet makes of one container's output, as far as they can be known from outside.

The API serves the newest file only. At rotation a following stream goes on to the next one if it had come to the end of its file
by then and waited there. One that had not reads its file to the end and stays there: it then skips files, or ends with the
container as if it had read everything. So the newest file is looked at every second (its first line's stamp names it), a stream
on each new one is opened at once, and is held until the file before it was read to its end.
"""

from __future__ import annotations

import time
from datetime import datetime, timedelta

import urllib3
from urllib3.exceptions import HTTPError

from runners.backends.kubernetes_api import Api, ApiError
from runners.backends.kubernetes_records import OVERLAP, STAMP, STAMP_BYTES, Cursor, moment

_SMALL = 64 << 10  # what has printed less is not rotated: the kubelet's limit is 10 MiB unless set otherwise
_LOOK_SECONDS, _LOOK_RARELY = 1.0, 10.0  # while something is printed; while nothing is
_HELD = 8  # files are at least as many times the kubelet's interval (10 s unless set otherwise) apart
#: A stream that has come close to the next file's first line, and one that has not, are at their file's end after such a silence.
_SILENT_CLOSE, _SILENT = 2.0, 15.0
_CLOSE = timedelta(seconds=1)


class Files:
    """Opens the streams of one container, in the order of its files."""

    def __init__(self, api: Api, path: str, container: str) -> None:
        self.api, self.path, self.container = api, path, container
        self.ended = False  # the container has: what there is is all, and nothing is waited for
        self.fresh = True  # the stream that was handed out last was opened then, not held before
        self.adjoins = False  # it was held, and its file begins less than a second after what was read
        self._newest = b""  # stamp of the first line of the newest file
        self._held: list[tuple[datetime, urllib3.BaseHTTPResponse]] = []  # of newer files: time of the first line, stream
        self._whole = True  # the stream that was handed out last begins at its file's beginning
        self._seconds = 0.0
        self._looked, self._interval, self._total = 0.0, _LOOK_SECONDS, -1

    def next(self, at: Cursor, seconds: float) -> urllib3.BaseHTTPResponse:
        """The stream to read now, which has what comes after the cursor; `seconds`: its time-out. Raises ApiError."""
        self._seconds = seconds
        if at.stamp:
            self._looked = 0.0
            self.look(at)
        self.fresh, self.adjoins = not self._held, self._is_close(at)
        if self._held:
            return self._held.pop(0)[1]
        self._whole = not at.stamp
        return self._open(at)

    def begins_with(self, first: bytes) -> None:
        """Learn the stamp of the first line that the current stream brought."""
        if self._whole and not self._newest:
            self._newest = first

    def look(self, at: Cursor) -> datetime | None:
        """See, when it is time to, whether there is a new file; returns the time up to which lines belong to the current one."""
        if at.total >= _SMALL and time.monotonic() >= self._looked + self._interval:
            self._interval = _LOOK_SECONDS if at.total != self._total else min(2 * self._interval, _LOOK_RARELY)
            self._looked, self._total = time.monotonic(), at.total
            try:
                first = self._first_stamp()
                if first and self._newest and first != self._newest and len(self._held) < _HELD:
                    self._held.append((moment(first), self._open(at)))
                self._newest = first or self._newest
            except (ApiError, HTTPError):
                pass  # the next look will tell
        return self._held[0][0] + OVERLAP if self._held else None

    @property
    def patience(self) -> float:
        """Seconds after which to look again while nothing comes."""
        return max(0.1, self._looked + self._interval - time.monotonic()) if self._looked else _LOOK_SECONDS

    def read_out(self, at: Cursor, silent: float) -> bool:
        """Whether a stream that brought nothing for `silent` seconds has come to the end of its file, and there is a newer one."""
        if not self._held:
            return False
        return silent >= (_SILENT_CLOSE if self._is_close(at) else _SILENT)

    def close(self) -> None:
        """Let go of what is held."""
        for _, reply in self._held:
            reply.close()
        self._held.clear()

    def _is_close(self, at: Cursor) -> bool:
        return bool(self._held and at.stamp) and moment(at.stamp) > self._held[0][0] - _CLOSE

    def _open(self, at: Cursor) -> urllib3.BaseHTTPResponse:
        query = {"container": self.container, "timestamps": "true"} | ({} if self.ended else {"follow": "true"})
        return self.api.stream(self.path, query | ({"sinceTime": at.since} if at.stamp else {}), self._seconds)

    def _first_stamp(self) -> bytes:
        """Of the newest file; b"" while it has no line."""
        query = {"container": self.container, "timestamps": "true", "limitBytes": str(STAMP_BYTES)}
        reply = self.api.stream(self.path, query, self._seconds)
        try:
            found = STAMP.match(reply.read())
        finally:
            reply.release_conn()
        return found[1] if found else b""
