"""Follow one container's output through the API server, from any byte, until it has ended and all of it was read.

A stream is cut at rotation, after an hour, when the API server or the kubelet restarts; then reading goes on from the
cursor. Its end counts only when the container had terminated before the reading began.
"""

from __future__ import annotations

import select
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any

import urllib3
from urllib3.exceptions import HTTPError, ReadTimeoutError

from runners.backends.base import Piece, StreamBroken, Unreachable
from runners.backends.kubernetes_api import Api, ApiError, as_backend_error
from runners.backends.kubernetes_records import Cursor, Records

PIECE_BYTES = 256 * 1024
_QUIET_SECONDS = 60  # without a byte the stream is opened anew: a dead connection looks just like a quiet build
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
    at, breaks = Cursor.parse(cursor), 0
    while True:
        now = place()
        if now is None or (now.ended and not now.started):
            return
        if not now.started:
            raise Unreachable(f"The container {container} has not started.")
        if at.pod != now.pod_uid:
            at = Cursor(pod=now.pod_uid)
        if now.ended and at.total == now.expected_bytes:
            return
        before = at.total
        how = yield from _answer(api, f"/api/v1/namespaces/{namespace}/pods/{now.pod}/log", container, now, at)
        if now.ended and (how == "end" or (how == "gone" and at.total == before)):
            return
        breaks = breaks + 1 if how in ("cut", "gone") and at.total == before else 0
        if breaks >= _BREAKS:
            raise StreamBroken(f"The output of {container} was cut {breaks} times.")
        wait(0.2 * 2**breaks if breaks else 0.5)


def _answer(api: Api, path: str, container: str, now: Place, at: Cursor) -> Generator[Piece, None, str]:
    """Yield what one request brings, moving `at`; returns how it ended: end, cut, quiet (no byte for long) or gone."""
    query = {"container": container, "follow": "true", "timestamps": "true"} | ({"sinceTime": at.since} if at.stamp else {})
    try:
        reply = api.stream(path, query, _QUIET_SECONDS)
    except ApiError as error:
        if error.status in (400, 404) and now.ended:
            return "gone"
        if error.status == 400:  # "is waiting to start"
            raise Unreachable(error.message) from None
        raise as_backend_error(error, "Reading the output") from None
    records = Records(at)
    try:
        yield from _pieces(reply, records)
        return "gone" if records.foreign else "end"
    except ReadTimeoutError:
        return "quiet"
    except HTTPError:
        return "cut"
    finally:
        reply.close()


def _pieces(reply: urllib3.BaseHTTPResponse, records: Records) -> Iterator[Piece]:
    """What one answer brings: at once where it is little, up to PIECE_BYTES at a time where more is waiting already."""
    more = _readable(reply)
    while True:
        data = reply.read1(_BLOCK)
        blocks, size = [data], len(data)
        while data and size < PIECE_BYTES and more():
            data = reply.read1(_BLOCK)
            blocks.append(data)
            size += len(data)
        content = records.feed(b"".join(blocks))
        if content:
            yield Piece(content, str(records.cursor), records.printed_at, 0 if records.gap else None)
        if not data or records.foreign:
            return


def _readable(reply: urllib3.BaseHTTPResponse) -> Callable[[], bool]:
    """A function that tells whether the connection has more bytes now."""
    connection: Any = reply.connection
    sock = getattr(connection, "sock", None)
    if sock is None:  # all of the answer came with its head
        return lambda: False
    poll = select.poll()  # select.select can't take descriptors above 1023
    poll.register(sock, select.POLLIN)
    pending = getattr(sock, "pending", lambda: 0)
    return lambda: bool(pending() or poll.poll(0))
