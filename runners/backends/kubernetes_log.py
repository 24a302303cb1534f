"""Follow one container's output through the API server, from any byte, until it has ended and all of it was read.

A stream is cut after an hour, when the API server or the kubelet restarts; then reading goes on from the cursor. Its end counts
only when the container had terminated before the reading began. What happens at rotation is in `kubernetes_files`.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any

import urllib3
from urllib3.exceptions import HTTPError, ReadTimeoutError

from runners.backends.base import Piece, StreamBroken, Unreachable
from runners.backends.kubernetes_api import Api, ApiError, as_backend_error
from runners.backends.kubernetes_files import Files
from runners.backends.kubernetes_records import Cursor, Records

PIECE_BYTES = 256 * 1024
QUIET_SECONDS = 60  # without a byte the stream is opened anew: a dead connection looks just like a quiet build
ENDED_SECONDS = 1.0  # the same once the container has ended: what there is now is all, and a kubelet that is busy closes late
_BREAKS = 5  # in a row without a byte between them
_BLOCK = 1 << 16


@dataclass(frozen=True, slots=True)
class Place:
    """Where a container's output is to be had, as the pod says now."""

    pod: str
    pod_uid: str
    started: bool
    ended: bool  # the container has terminated, or never will run
    expected_bytes: int | None = None  # what it reported when it ended


def follow(
    api: Api, namespace: str, container: str, cursor: str, place: Callable[[], Place | None], wait: Callable[[float], None]
) -> Iterator[Piece]:
    """Yield the output behind `cursor`. `place` looks the container up (None: no trace of it), `wait` waits for its pod to change.

    Raises Unreachable while it has not started or can't be had, StreamBroken where it was cut several times in a row.
    """
    at, breaks, how = Cursor.parse(cursor), 0, ""
    files = Files(api, "", container)
    try:
        while True:
            now = place()
            if now is None or (now.ended and not now.started):
                return
            if not now.started:
                raise Unreachable(f"The container {container} has not started.")
            if at.pod != now.pod_uid:
                at = Cursor(pod=now.pod_uid)
            if _complete(now, at):
                return
            files.ended = now.ended
            files.path, before = f"/api/v1/namespaces/{namespace}/pods/{now.pod}/log", at.total
            how = yield from _answer(files, now, at, how, lambda: (seen := place()) is None or seen.ended)
            if now.ended and files.fresh and (how == "end" or (how == "gone" and at.total == before)):
                return
            breaks = breaks + 1 if how in ("cut", "gone") and at.total == before else 0
            if breaks >= _BREAKS:
                raise StreamBroken(f"The output of {container} was cut {breaks} times.")
            if how == "end" and _complete(place(), at):
                return
            if how not in ("done", "left"):
                wait(0.2 * 2**breaks if breaks else 0.5)
    finally:
        files.close()


def _complete(now: Place | None, at: Cursor) -> bool:
    """Whether the container has ended and says that it printed no more."""
    return now is not None and now.ended and at.pod == now.pod_uid and at.total == now.expected_bytes


def _answer(files: Files, now: Place, at: Cursor, before: str, over: Callable[[], bool]) -> Generator[Piece, None, str]:
    """Yield what one request brings, moving `at`; returns how it ended.

    end, cut, quiet (no byte for long), gone, or after a rotation: done (read to the end of its file), left (it went on to another
    file by itself). `before`: how the one before ended; `over` tells whether the container has ended.
    """
    try:
        reply = files.next(at, QUIET_SECONDS)
    except ApiError as error:
        if error.status in (400, 404) and now.ended:
            return "gone"
        if error.status == 400:  # "is waiting to start"
            raise Unreachable(error.message) from None
        raise as_backend_error(error, "Reading the output") from None
    whole = before in ("done", "left") or (before == "end" and (now.ended or files.adjoins))
    records = Records(at, whole and not files.fresh)
    try:
        return (yield from _pieces(reply, records, files, over))
    except ReadTimeoutError:
        return "quiet"
    except HTTPError:
        return "cut"
    finally:
        reply.close()


def _pieces(
    reply: urllib3.BaseHTTPResponse, records: Records, files: Files, over: Callable[[], bool]
) -> Generator[Piece, None, str]:
    """What one answer brings: at once where it is little, up to PIECE_BYTES at a time where more is waiting already."""
    more, heard = _readable(reply), time.monotonic()
    while True:
        records.limit = files.look(records.cursor)
        if not more(files.patience):
            silent = time.monotonic() - heard
            if files.read_out(records.cursor, silent):
                return "done"
            if silent >= QUIET_SECONDS or (silent >= ENDED_SECONDS and not files.ended and over()):
                return "quiet"
            continue
        data = reply.read1(_BLOCK)
        blocks, size = [data], len(data)
        while data and size < PIECE_BYTES and more(0):
            data = reply.read1(_BLOCK)
            blocks.append(data)
            size += len(data)
        heard = time.monotonic()
        content = records.feed(b"".join(blocks))
        files.begins_with(records.first)
        if content:
            yield Piece(content, str(records.cursor), records.printed_at, 0 if records.gap else None)
        if records.foreign or records.passed or not data:
            return "gone" if records.foreign else "left" if records.passed else "end"


def _readable(reply: urllib3.BaseHTTPResponse) -> Callable[[float], bool]:
    """A function that waits so many seconds until there is something to read, and tells whether there is."""
    connection: Any = reply.connection
    body: Any = getattr(reply, "_fp", None)  # http.client's: what it has read ahead can't be seen otherwise
    sock, ahead = getattr(connection, "sock", None), getattr(body, "fp", None)
    if sock is None or ahead is None:  # all of the answer came with its head
        return lambda seconds: True
    poll = select.poll()  # select.select can't take descriptors above 1023
    poll.register(sock, select.POLLIN)
    pending = getattr(sock, "pending", lambda: 0)

    def held() -> int:
        sock.settimeout(0)
        try:
            return len(ahead.peek(1))
        except OSError:  # there is nothing
            return 0
        finally:
            sock.settimeout(QUIET_SECONDS)

    def readable(seconds: float) -> bool:
        until = time.monotonic() + seconds
        while not ahead.closed:
            before = held()
            if before > (2 if body.chunk_left == 0 else 0):  # the line end after a chunk says nothing
                return True
            if not pending() and not poll.poll(1000 * max(0.0, until - time.monotonic())):
                return False
            if held() == before:
                return True  # the end, or a part of a TLS record: reading will tell
        return True

    return readable
