"""Moves finished outputs out of the database into Django's default storage, compressed, and reads them there.

An archive is a gzip file of many members, each 1 MiB of output, so that `zcat` reads the whole and a range is read by
decompressing only the members that it touches; `Output.frames` says where they start.
"""

from __future__ import annotations

import gzip
import secrets
import tempfile
import zlib
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from functools import partial
from typing import IO

from django.core.files import File
from django.core.files.storage import default_storage
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from logs.models import Output, OutputChunk

#: Bytes of output in one member.
MEMBER = 1 << 20
_LEVEL = 6
_BLOCK = 64 << 10


class ArchiveError(Exception):
    """The storage could not take, give or remove a file; the message says what it said. Chunks are left as they were."""


def archive(output: Output) -> bool:
    """Move a closed output into the storage; False where there is nothing to do (open, empty, archived or removed already).

    The file is written first and under a name of its own, which the row carries from before the first byte: whatever a crash
    leaves behind is found and removed by the next attempt. Raises ArchiveError, with the chunks still in place.
    """
    output.refresh_from_db()
    if output.closed_at is None or output.archived_at is not None or output.removed_at is not None or not output.size:
        return False
    leftover, name = output.archive, f"{output.run_id // 1000}/{output.run_id}-{secrets.token_hex(4)}.log.gz"
    if not _claim(output, leftover, name):
        return False
    try:
        if leftover:
            default_storage.delete(leftover)
        with tempfile.TemporaryFile() as file:
            frames = _compress(_chunks(output), file)
            file.seek(0)
            stored = default_storage.save(name, File(file, name=name))
    except Exception as error:  # storages raise what they like
        raise ArchiveError(f"the output of run {output.run_id} could not be archived: {error}") from error
    with transaction.atomic():
        finished = Output.objects.filter(pk=output.pk, archive=name, archived_at__isnull=True, removed_at__isnull=True).update(
            archive=stored, archived_at=timezone.now(), frames=frames
        )
        if finished:
            OutputChunk.objects.filter(output_id=output.pk).delete()
    if not finished:
        default_storage.delete(stored)  # another attempt took over
    output.refresh_from_db()
    return bool(finished)


def _claim(output: Output, leftover: str, name: str) -> bool:
    return bool(Output.objects.filter(pk=output.pk, archive=leftover, archived_at__isnull=True).update(archive=name))


def _chunks(output: Output) -> Iterator[bytes]:
    """All stored bytes; raises where they are not as many as the row says."""
    position = 0
    while position < output.size:
        rows = OutputChunk.objects.filter(output_id=output.pk, start__gte=position, start__lt=position + MEMBER)
        before = position
        for start, data in rows.order_by("start").values_list("start", "data"):
            if start != position:
                break
            position += len(data)
            yield bytes(data)
        if position == before:
            raise ArchiveError(f"bytes are missing at {position}")


def _compress(pieces: Iterable[bytes], file: IO[bytes]) -> list[list[int]]:
    """Write the members; return [offset in the output, offset in the file] of each."""
    frames: list[list[int]] = []
    position, buffer = 0, bytearray()

    def write(size: int) -> int:
        frames.append([position, file.tell()])
        file.write(gzip.compress(bytes(buffer[:size]), _LEVEL, mtime=0))
        del buffer[:size]
        return size

    for piece in pieces:
        buffer += piece
        while len(buffer) >= MEMBER:
            position += write(MEMBER)
    if buffer:
        write(len(buffer))
    return frames


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


def discard(output: Output) -> None:
    """Delete an output with its chunks and its file. Raises ArchiveError, with nothing but the file's fate unknown."""
    name = output.archive
    try:
        if name:
            default_storage.delete(name)
    except Exception as error:
        raise ArchiveError(f"the output of run {output.run_id} could not be removed: {error}") from error
    output.delete()


def clear(output: Output) -> None:
    """Remove a closed output's bytes; its row stays, and tells when. Raises ArchiveError; the next call then removes the file.

    The row says so first: whatever a crash leaves behind, nobody is promised bytes that are gone.
    """
    with transaction.atomic():
        Output.objects.filter(pk=output.pk, closed_at__isnull=False, removed_at__isnull=True).update(removed_at=timezone.now())
        OutputChunk.objects.filter(output__pk=output.pk, output__removed_at__isnull=False).delete()
    output.refresh_from_db()
    try:
        if output.archive:
            default_storage.delete(output.archive)
    except Exception as error:  # storages raise what they like
        raise ArchiveError(f"the output of run {output.run_id} could not be removed: {error}") from error
    Output.objects.filter(pk=output.pk, removed_at__isnull=False).update(archive="", frames=[])


def discard_files(outputs: QuerySet[Output]) -> None:
    """Delete these outputs' files as soon as the transaction that deletes their rows is committed."""
    for name in outputs.exclude(archive="").values_list("archive", flat=True):
        transaction.on_commit(partial(default_storage.delete, name), robust=True)
