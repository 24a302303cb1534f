"""Live output as server-sent events.

In each process one follower asks the database about all runs that are watched, and their readers share what it finds. An event is
`id:` the offset after it, `event: output`, `data:` its text as one JSON string (carriage returns, line feeds and all).
Events end between UTF-8 characters; bytes that are no UTF-8 are shown as U+FFFD. After the last byte comes `event: end`. A stream
that ends without it is to be opened again with the last `id`: the process stopped, and another one goes on from there.
"""

from __future__ import annotations

import codecs
import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson
from django.apps import apps
from django.db import close_old_connections, connection

from ci_portal.api.connections import release_connection
from logs.models import Output
from logs.reading import read

log = logging.getLogger(__name__)

#: Seconds between two questions to the database while somebody watches.
POLL = 0.02
#: Seconds after which a comment shows that the connection lives, where there is nothing else to send.
HEARTBEAT = 15.0
#: At most so many bytes of output in one event.
EVENT = 64 << 10
#: What a followed run keeps in memory for its readers; who is further behind reads from the database.
TAIL_BYTES, TAIL_EVENTS = 1 << 20, 1000
#: So many readers are woken at once; before the next ones, what else the process has to do is done, for at most so many seconds
#: between the first and the last reader.
GROUP, COURTESY = 8, 0.25

ALIVE = b": alive\n\n"


@dataclass(frozen=True, slots=True)
class Event:
    """Bytes `start` to `end` of an output, ready to send."""

    start: int
    end: int
    message: bytes


def encode(start: int, pieces: Iterable[bytes], last: bool) -> Iterator[Event]:
    """Turn consecutive bytes into events. A character that is begun at their end is left out, unless these are the `last` bytes."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    position = start
    parts = (piece[at : at + EVENT] for piece in pieces for at in range(0, len(piece), EVENT))
    for part in parts:
        position += len(part)
        text = decoder.decode(part)
        end = position - len(decoder.getstate()[0])
        if text:
            yield Event(start, end, _message(end, text))
            start = end
    if last and start < position:
        yield Event(start, position, _message(position, decoder.decode(b"", final=True)))


def _message(end: int, text: str) -> bytes:
    return b"id: %d\nevent: output\ndata: %b\n\n" % (end, orjson.dumps(text))


def _end_message(output: Output) -> bytes:
    content = {
        "outcome": output.outcome,
        "verdict": output.verdict,
        "verdict_detail": output.verdict_detail,
        "size": output.size,
    }
    return b"id: %d\nevent: end\ndata: %b\n\n" % (output.size, orjson.dumps(content))


def run_over(run_id: int) -> str | None:
    """How a run ended of which no output is stored and none will be; None while some may come."""
    run: Any = apps.get_model("runners", "Run").objects.filter(pk=run_id).first()
    if run is None:
        return ""
    return None if run.is_active else str(run.status or "")


@dataclass(slots=True)
class Group:
    """Readers of one run that are woken together."""

    readers: int = 0
    news: threading.Event = field(default_factory=threading.Event)

    def wake(self) -> None:
        """Have them look. Who comes from now on waits for the next time."""
        news, self.news = self.news, threading.Event()
        news.set()


@dataclass
class Followed:
    """One run as its readers in this process share it. Its follower alone changes what there is to read, `tail` under the lock."""

    run_id: int
    groups: list[Group] = field(default_factory=list)
    output: Output | None = None  # as the follower last saw it
    known: bool = False  # the follower has looked at least once
    tip: int = 0  # events reach up to here; older bytes are in the database
    tail: deque[Event] = field(default_factory=deque)
    tail_bytes: int = 0
    end: bytes | None = None  # what is said after the last byte
    stopped: bool = False  # the process stops: readers go, and come back to another
    lock: threading.Lock = field(default_factory=threading.Lock)

    def after(self, position: int) -> list[Event]:
        """The events from `position` on, if they are still in memory."""
        found: list[Event] = []
        with self.lock:
            for event in reversed(self.tail):
                if event.start < position:
                    return []
                found.append(event)
                if event.start == position:
                    return found[::-1]
        return []

    def holds(self, position: int) -> bool:
        """Whether there is something for who has read up to `position`: more, the end, or that the process stops."""
        return self.stopped or (self.known and (self.end is not None or self.tip > position))

    def stop(self) -> None:
        """Send the readers away."""
        self.stopped = True
        for group in self.groups[:]:
            group.wake()

    def look(self, output: Output | None) -> bool:
        """Take in what the database has now: new bytes, the end. Returns whether the readers are to be woken."""
        end = self._look_for_end(output)
        events = self._look_for_events(output) if output else []
        news = not self.known or bool(events) or end is not None
        with self.lock:
            for event in events:
                self._keep(event)
        self.output, self.known, self.end = output, True, end
        return news

    def _look_for_end(self, output: Output | None) -> bytes | None:
        if output is None:
            outcome = run_over(self.run_id)
            return None if outcome is None else _end_message(Output(run_id=self.run_id, outcome=outcome))
        return _end_message(output) if output.closed_at else None

    def _look_for_events(self, output: Output) -> list[Event]:
        last = output.closed_at is not None
        if not self.known:  # readers read what there is by themselves; the follower starts at its end
            self.tip = output.size if last else _between_characters(output)
            return []
        if output.size <= self.tip or (self.output and self.output.size == output.size and not last):
            return []
        return list(encode(self.tip, read(output, self.tip, output.size), last))

    def _keep(self, event: Event) -> None:
        self.tail.append(event)
        self.tail_bytes += len(event.message)
        self.tip = event.end
        while self.tail_bytes > TAIL_BYTES or len(self.tail) > TAIL_EVENTS:
            self.tail_bytes -= len(self.tail.popleft().message)


def _between_characters(output: Output) -> int:
    """The output's size, less what begins a character at its end and doesn't complete it."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    decoder.decode(b"".join(read(output, max(0, output.size - 3), output.size)))
    return output.size - len(decoder.getstate()[0])


class Hub:
    """The runs that are watched in this process, and the one thread that follows them; it lives while there are readers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs: dict[int, Followed] = {}
        self._thread: threading.Thread | None = None
        self._nobody = threading.Event()  # set when the last reader has gone
        self._stopped = False

    def stop(self) -> None:
        """The process stops: all streams end after the event that they are at, and those that are opened from now on at once."""
        with self._lock:
            self._stopped = True
            runs = list(self._runs.values())
        for followed in runs:
            followed.stop()

    def join(self, run_id: int) -> tuple[Followed, Group]:
        """One more reader of a run, and with whom it is woken. To be followed by `leave`."""
        with self._lock:
            followed = self._runs.setdefault(run_id, Followed(run_id, stopped=self._stopped))
            if not followed.groups or followed.groups[-1].readers >= GROUP:
                followed.groups.append(Group())
            group = followed.groups[-1]
            group.readers += 1
            if self._thread is None:
                self._nobody = threading.Event()
                self._thread = threading.Thread(target=self._follow, name="output-follower", daemon=True)
                self._thread.start()
                threading.Thread(target=self._beat, args=(self._nobody,), name="output-heartbeat", daemon=True).start()
            return followed, group

    def leave(self, followed: Followed, group: Group) -> None:
        """One reader less."""
        with self._lock:
            group.readers -= 1
            if not group.readers:
                followed.groups.remove(group)
            if not followed.groups:
                del self._runs[followed.run_id]

    def _follow(self) -> None:
        try:
            while True:
                with self._lock:
                    if not self._runs:
                        self._thread = None
                        self._nobody.set()
                        return
                    runs = [followed for followed in self._runs.values() if followed.end is None]
                try:
                    self._look(runs)
                    time.sleep(POLL)
                except Exception:  # the database is away: readers hear heartbeats until it is back
                    log.exception("following output failed; trying again in a second")
                    close_old_connections()
                    time.sleep(1)
        finally:
            connection.close()

    def _look(self, runs: list[Followed]) -> None:
        if not runs:
            return
        found = Output.objects.filter(run_id__in=[followed.run_id for followed in runs])
        outputs = {output.run_id: output for output in found}
        _wake([group for followed in runs if followed.look(outputs.get(followed.run_id)) for group in followed.groups])

    def _beat(self, nobody: threading.Event) -> None:
        """Wake all now and then: who then finds nothing to send sends a comment. A time-out of each reader's own would cost more
        than sending an event, and this one does not wait for the database."""
        while not nobody.wait(HEARTBEAT):
            with self._lock:
                groups = [group for followed in self._runs.values() for group in followed.groups]
            _wake(groups)


def _wake(groups: list[Group]) -> None:
    """Some readers after the others, and other requests between them."""
    until = time.monotonic() + COURTESY
    for group in groups:
        group.wake()
        _after_others(until)


def _after_others(until: float) -> None:
    """Let greenlets that have something to do go first, up to that moment of time.monotonic(). Threads need no such courtesy."""
    gevent: Any = sys.modules.get("gevent")
    seconds = until - time.monotonic()
    if gevent and seconds > 0 and gevent.monkey.is_module_patched("threading"):  # by uWSGI (uwsgi.ini)
        with gevent.Timeout(seconds, False):
            gevent.idle()


HUB = Hub()


def live(run_id: int, position: int = 0) -> Iterator[bytes]:
    """Yield the events of a run's output from byte `position` on, as they come, until its end."""
    followed, group = HUB.join(run_id)
    try:
        yield b"retry: 1000\n\n"
        release_connection()  # the request's own: a run that waits may print nothing for hours
        while True:
            news = group.news  # before looking: what comes after the look sets it
            if not followed.holds(position):
                news.wait()  # without a time-out, see Hub._beat
                if not followed.holds(position):
                    yield ALIVE
                continue
            if followed.stopped:
                return
            end, tip, output = followed.end, followed.tip, followed.output
            if position < tip:
                before, held = position, followed.after(position)
                for event in held or _history(output, position, tip):
                    yield event.message
                    position = event.end
                    if followed.stopped:
                        return
                if position == before:
                    return  # the bytes are gone: the output was removed
                if not held:
                    release_connection()
            elif end is not None:
                yield end
                return
    finally:
        HUB.leave(followed, group)
        release_connection()


def _history(output: Output | None, start: int, end: int) -> Iterator[Event]:
    row = Output.objects.filter(pk=output.pk).first() if output else None  # not the follower's: reading brings it up to date
    if row:
        yield from encode(start, read(row, start, end), last=True)
