"""Stores what a run prints: masked, in order, exactly once, resumable after a crash anywhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from logs import cksum
from logs.masking import Masker
from logs.models import Output, OutputChunk, OutputStream
from logs.reading import CHUNK, read
from logs.verdict import judge, ran

__all__ = ["CHUNK", "DEFAULT_LIMIT", "Piece", "Recorder", "StaleWriter", "read"]

#: At most so many bytes of a run are stored; what it prints beyond is only counted and checksummed.
DEFAULT_LIMIT = 1 << 30
#: Bytes printed further apart than this get rows of their own, so that each has its time.
APART = timedelta(seconds=1)
#: Rows of one INSERT. The driver has its bytes in memory ten times over, as digits, text and packet.
ROWS = 4

#: How many bytes, and their POSIX cksum; None: nobody says.
Count = tuple[int | None, int | None]


class StaleWriter(Exception):
    """Someone else has written to this output, closed it, or removed it: stop, and make a new Recorder if it is yours again."""


class Piece(Protocol):
    """Consecutive raw bytes of one container, as `runners.backends.base.Piece` has them."""

    @property
    def data(self) -> bytes:
        """The bytes as printed."""

    @property
    def cursor(self) -> str:
        """Where reading goes on after them."""

    @property
    def printed_at(self) -> datetime | None:
        """When the first of them was printed, UTC."""

    @property
    def missing(self) -> int | None:
        """Set: bytes are missing before these; how many, 0 where nobody knows."""


@dataclass(frozen=True, slots=True)
class _Piece:
    data: bytes
    cursor: str
    printed_at: datetime | None = None
    missing: int | None = None


@dataclass(slots=True)
class _Reading:
    """Where one container's stream stands in memory. Its row says the same up to the last byte that was not held back."""

    stream: OutputStream
    cursor: str
    raw_bytes: int
    crc: int
    bare_bytes: int
    bare_crc: int
    skip: int  # masked bytes still to come that are in the output already: a crash came between them and their cursor
    since: int = 0  # masked bytes since the row's cursor

    def settle(self) -> None:
        """Nothing is held back: the row's cursor may come here."""
        self.stream.cursor, self.stream.raw_bytes, self.stream.crc = self.cursor, self.raw_bytes, self.crc
        self.stream.bare_bytes, self.stream.bare_crc = self.bare_bytes, self.bare_crc
        self.since = 0


@dataclass(slots=True)
class _Batch:
    """Bytes on their way into rows."""

    rows: list[tuple[datetime | None, list[bytes], int]] = field(default_factory=list)

    def add(self, data: bytes, printed_at: datetime | None) -> None:
        if not data:
            return
        if self.rows:
            first, parts, size = self.rows[-1]
            near = first is None or printed_at is None or printed_at - first < APART
            if near and size + len(data) <= CHUNK:
                parts.append(data)
                self.rows[-1] = (first, parts, size + len(data))
                return
        for start in range(0, len(data), CHUNK):
            part = data[start : start + CHUNK]
            self.rows.append((printed_at, [part], len(part)))


def _streams(run_id: int) -> dict[str, OutputStream]:
    """By container, in their order; all share one object of the output."""
    streams = list(OutputStream.objects.filter(output__run=run_id).select_related("output").order_by("position"))
    for stream in streams:
        stream.output = streams[0].output
    return {stream.container: stream for stream in streams}


class Recorder:
    """Writes one run's output. All its state is in the database, so a new Recorder goes on where the last commit was.

    One writer at a time: whoever commits second, not knowing of the first, gets StaleWriter. After any exception the Recorder is
    of no more use; make a new one and stream on from its cursors.
    """

    def __init__(self, run_id: int, containers: tuple[str, ...], secrets: list[str], limit: int = DEFAULT_LIMIT) -> None:
        self._streams = _streams(run_id)
        if not self._streams.keys() >= set(containers):
            with transaction.atomic():
                Output.objects.bulk_create([Output(run_id=run_id)], ignore_conflicts=True)
                output = Output.objects.get(run_id=run_id)
                new = [OutputStream(output=output, position=n, container=name) for n, name in enumerate(containers)]
                OutputStream.objects.bulk_create(new, ignore_conflicts=True)
            self._streams = _streams(run_id)
        self._output = self._streams[containers[0]].output
        self._masker = Masker(secrets)
        self._limit = limit
        self._reading: _Reading | None = None
        self._stale = self._output.closed_at is not None

    @property
    def output(self) -> Output:
        """The row as this Recorder knows it."""
        return self._output

    def cursor(self, container: str) -> str:
        """Where to stream on from, for this Recorder; "" is the first byte."""
        if self._reading and self._reading.stream.container == container:
            return self._reading.cursor  # it may hold bytes back, of which the row does not know
        return self._streams[container].cursor

    def ended(self, container: str) -> bool:
        """Whether `end` was recorded for the container."""
        return self._streams[container].ended

    def append(
        self, container: str, data: bytes, cursor: str, printed_at: datetime | None = None, missing: int | None = None
    ) -> None:
        """Store the next raw bytes of a container and where to go on after them, in one transaction.

        `missing` is set where bytes are known to be missing before these: how many, 0 where nobody knows. Containers follow one
        another: those before this one are ended, as having reported nothing, if they are not yet. Raises StaleWriter; ValueError
        for a container that has ended.
        """
        self.append_many(container, (_Piece(data, cursor, printed_at, missing),))

    def append_many(self, container: str, pieces: Iterable[Piece]) -> None:
        """Store several pieces in one transaction, in as few rows as their times allow. Otherwise like `append`."""
        with self._fence():
            reading = self._turn_to(container)
            before = (reading.stream.cursor, reading.stream.ahead)
            batch = _Batch()
            for piece in pieces:
                self._take(reading, piece, batch)
            if batch.rows or before != (reading.stream.cursor, reading.stream.ahead):
                self._commit(batch, reading.stream)

    def end(
        self, container: str, expected_bytes: int | None, expected_cksum: int | None, bare: Count = (None, None), cut: int = 0
    ) -> None:
        """Record that the container has terminated and was read to its end, and what it says it printed (None: nothing said).

        `bare`: the same of all but the carriage returns, of which what was read may lack some.

        `cut`: bytes that it printed beyond those, which its backend counted and did not keep. To be called for each container that
        ran, whether bytes of it were read or not. Ending twice is harmless.
        """
        if not self.ended(container):
            with self._fence():
                self._output.dropped += cut
                self._end(container, (expected_bytes, expected_cksum), bare)

    def close(self, outcome: str) -> tuple[str, str]:
        """End the output with the run's outcome; returns (verdict, detail). Closing again changes nothing and returns the same."""
        known = Output.objects.filter(pk=self._output.pk, closed_at__isnull=False).first()
        if known:
            self._output = known
            return known.verdict, known.verdict_detail
        with self._fence():
            for container, stream in self._streams.items():
                if not stream.ended and (ran(stream) or (self._reading and self._reading.stream is stream)):
                    self._end(container, (None, None), (None, None))
            verdict, detail = judge(self._output, list(self._streams.values()))
            self._commit(_Batch(), None, closed_at=timezone.now(), outcome=outcome[:10], verdict=verdict, verdict_detail=detail)
        self._stale = True
        return verdict, detail

    @contextmanager
    def _fence(self) -> Iterator[None]:
        if self._stale:
            raise StaleWriter(f"the output of run {self._output.run_id} has moved on")
        self._stale = True  # memory is ahead of the database until the commit
        yield
        self._stale = False

    def _turn_to(self, container: str) -> _Reading:
        if self._reading and self._reading.stream.container == container:
            return self._reading
        stream = self._streams[container]
        if stream.ended:
            raise ValueError(f"container {container} of run {self._output.run_id} has ended")
        for earlier in self._streams.values():
            if earlier.position < stream.position and not earlier.ended:
                self._end(earlier.container, (None, None), (None, None))
        if not ran(stream):
            stream.start = self._output.size
        counted = (stream.raw_bytes, stream.crc, stream.bare_bytes, stream.bare_crc)
        self._reading = _Reading(stream, stream.cursor, *counted, skip=stream.ahead)
        return self._reading

    def _end(self, container: str, whole: Count, bare: Count) -> None:
        reading, batch = self._turn_to(container), _Batch()
        self._emit(reading, self._masker.flush(), None, batch)
        reading.settle()
        stream = reading.stream
        stream.ahead, stream.ended = 0, True
        stream.expected_bytes, stream.expected_cksum = whole
        stream.expected_bare_bytes, stream.expected_bare_cksum = bare
        self._commit(batch, stream)
        self._reading = None

    def _take(self, reading: _Reading, piece: Piece, batch: _Batch) -> None:
        if piece.missing is not None:
            self._note_gap(reading, piece.missing, batch)
        reading.raw_bytes += len(piece.data)
        reading.crc = cksum.update(reading.crc, piece.data)
        if reading.bare_bytes + len(piece.data) == reading.raw_bytes and b"\r" not in piece.data:
            reading.bare_bytes, reading.bare_crc = reading.raw_bytes, reading.crc  # none so far: the two are the same
        else:
            bare = piece.data.replace(b"\r", b"")
            reading.bare_bytes += len(bare)
            reading.bare_crc = cksum.update(reading.bare_crc, bare)
        reading.cursor = piece.cursor
        self._emit(reading, self._masker.feed(piece.data), piece.printed_at or timezone.now(), batch)
        if not self._masker.pending:
            reading.settle()
        reading.stream.ahead = reading.since + reading.skip

    def _note_gap(self, reading: _Reading, missing: int, batch: _Batch) -> None:
        self._emit(reading, self._masker.flush(), None, batch)
        reading.settle()
        here = self._output.size - reading.skip
        if all(offset != here for offset, _ in reading.stream.gaps):  # else it was noticed before a crash
            reading.skip = 0  # what was stored beyond the cursor is lost to reading, and stays
            reading.stream.gaps.append([self._output.size, missing or None])

    def _emit(self, reading: _Reading, masked: bytes, printed_at: datetime | None, batch: _Batch) -> None:
        reading.since += len(masked)
        known = min(reading.skip, len(masked))
        reading.skip -= known
        fresh = masked[known:]
        kept = fresh[: max(0, self._limit - self._output.size)]
        batch.add(kept, printed_at)
        self._output.size += len(kept)
        self._output.dropped += len(fresh) - len(kept)

    def _commit(self, batch: _Batch, stream: OutputStream | None, **closing: Any) -> None:
        output, start = self._output, self._output.size - sum(size for _, _, size in batch.rows)
        chunks = []
        for printed_at, parts, size in batch.rows:
            chunks.append(OutputChunk(output=output, start=start, data=b"".join(parts), printed_at=printed_at))
            start += size
        with transaction.atomic():
            mine = Output.objects.filter(pk=output.pk, writes=output.writes, closed_at__isnull=True)
            if not mine.update(writes=F("writes") + 1, size=output.size, dropped=output.dropped, **closing):
                raise StaleWriter(f"the output of run {output.run_id} has moved on")
            OutputChunk.objects.bulk_create(chunks, batch_size=ROWS)
            if stream:
                stream.save(force_update=True)
        output.writes += 1
