"""Reads what runs printed, wherever it is: in the database, or in the storage, where only the members that a range touches are
decompressed."""

from __future__ import annotations

import zlib
from bisect import bisect_right
from collections.abc import Iterator
from typing import IO

from django.core.files.storage import default_storage

from logs.models import Output, OutputChunk

#: At most so many bytes are in one row.
CHUNK = 256 << 10
#: How many bytes are asked for at a time, of the database and of the storage.
WINDOW = 1 << 20
_BLOCK = 64 << 10


class ArchiveError(Exception):
    """The storage could not take, give or remove a file; the message says what it said. Chunks are left as they were."""


def read_archive(output: Output, start: int, end: int) -> Iterator[bytes]:
    """Yield the bytes from `start` up to `end` of an archived output. Raises ArchiveError."""
    if start >= min(end, output.size):
        return
    first = bisect_right([offset for offset, _ in output.frames], start) - 1
    position, in_file = output.frames[first]
    try:
        with default_storage.open(output.archive, "rb") as file:
            file.seek(in_file)
            for data in _decompress(file):
                part = data[max(0, start - position) : max(0, end - position)]
                position += len(data)
                if part:
                    yield part
                if position >= end:
                    return
    except (OSError, zlib.error) as error:
        raise ArchiveError(f"the archived output of run {output.run_id} could not be read: {error}") from error


def _decompress(file: IO[bytes]) -> Iterator[bytes]:
    member = zlib.decompressobj(wbits=31)
    while True:
        data = member.unused_data or member.unconsumed_tail or file.read(_BLOCK)
        if not data:
            return
        if member.eof:
            member = zlib.decompressobj(wbits=31)
        yield member.decompress(data, _BLOCK)


def read(output: Output, start: int = 0, end: int | None = None) -> Iterator[bytes]:
    """Yield the stored bytes from `start` up to `end` (None: as many as there are now), about 1 MiB in memory at a time.

    Goes on undisturbed when the output is archived meanwhile. Stops early where bytes are not stored (yet).
    """
    position, end = start, output.size if end is None else end
    while position < end:
        here = position
        if output.archived_at is None:
            for data in _read_chunks(output, position, min(end, position + WINDOW)):
                position += len(data)
                yield data
            if position > here:
                continue
            output.refresh_from_db()
        if output.archived_at is None:
            return
        for data in read_archive(output, position, end):
            position += len(data)
            yield data
        return


def _read_chunks(output: Output, start: int, end: int) -> Iterator[bytes]:
    rows = OutputChunk.objects.filter(output_id=output.pk, start__gt=start - CHUNK, start__lt=end)
    for first, data in rows.order_by("start").values_list("start", "data"):
        part = bytes(data)[max(0, start - first) : end - first]
        if part and first + max(0, start - first) == start:
            start += len(part)
            yield part
