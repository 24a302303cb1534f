"""Moves finished outputs out of the database into Django's default storage, compressed.

An archive is a gzip file of many members, each 1 MiB of output, so that `zcat` reads the whole and a range is read by
decompressing only the members that it touches; `Output.frames` says where they start.
"""

from __future__ import annotations

import gzip
import secrets
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from typing import IO

from django.core.files import File
from django.core.files.storage import default_storage
from django.db import transaction
from django.db.models import Case, F, QuerySet, Value, When
from django.utils import timezone

from logs import line_index
from logs.models import Output, OutputChunk, OutputSegment
from logs.reading import ArchiveError

__all__ = ["ArchiveError", "archive", "clear", "discard", "discard_files", "mark_removed"]

#: Bytes of output in one member.
MEMBER = 1 << 20
_LEVEL = 6
#: Rows of output that one transaction deletes: at most 256 KiB each.
CHUNKS = 100


def archive(output: Output) -> bool:
    """Move a closed output into the storage; False where there is nothing to do (open, empty, archived or removed already).

    The file is written first and under a name of its own, which the row carries from before the first byte: whatever a crash
    leaves behind is found and removed by the next attempt. Raises ArchiveError, with the chunks still in place.
    """
    if (
        not _is_there(output)
        or output.closed_at is None
        or output.archived_at is not None
        or output.removed_at is not None
        or not output.size
    ):
        return False
    line_index.complete(output)  # it keeps the times, which the chunks take with them
    leftover, name = output.archive, new_name(output.run_id)
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
        with suppress(Exception):  # a part of it on a full disk would keep smaller outputs away
            default_storage.delete(name)
        raise ArchiveError(f"the output of run {output.run_id} could not be archived: {error}") from error
    with transaction.atomic():
        finished = Output.objects.filter(pk=output.pk, archive=name, archived_at__isnull=True, removed_at__isnull=True).update(
            archive=stored, archived_at=timezone.now(), frames=frames
        )
        if finished:
            OutputChunk.objects.filter(output_id=output.pk).delete()
    if not finished:
        default_storage.delete(stored)  # another attempt took over, or the output was removed
    return _is_there(output) and bool(finished)


def _is_there(output: Output) -> bool:
    """Read the row again; False where it was deleted meanwhile."""
    try:
        output.refresh_from_db()
    except Output.DoesNotExist:
        return False
    return True


def _claim(output: Output, leftover: str, name: str) -> bool:
    free = Output.objects.filter(pk=output.pk, archive=leftover, archived_at__isnull=True, removed_at__isnull=True)
    return bool(free.update(archive=name))


def new_name(run_id: int) -> str:
    """A name for the archive of a run's output that no other attempt at one has."""
    return f"{run_id // 1000}/{run_id}-{secrets.token_hex(4)}.log.gz"


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


def discard(output: Output) -> None:
    """Delete an output with its chunks and its file. Raises ArchiveError, with nothing but the file's fate unknown."""
    name = output.archive
    try:
        if name:
            default_storage.delete(name)
    except Exception as error:
        raise ArchiveError(f"the output of run {output.run_id} could not be removed: {error}") from error
    output.delete()


def mark_removed(output: Output) -> bool:
    """Say that the bytes are gone before the first of them goes; returns whether it was this caller that said so.

    Nobody is promised bytes that may be gone. The row carries a file's name, if only that of one that was never made, until
    `clear` has removed everything: so what a crash leaves behind is found.
    """
    named = Case(When(archive="", then=Value(new_name(output.run_id))), default=F("archive"))
    return bool(Output.objects.filter(pk=output.pk, removed_at__isnull=True).update(removed_at=timezone.now(), archive=named))


def clear(output: Output, go_on: Callable[[], bool] = lambda: True) -> bool:
    """Remove the bytes of an output that is marked as removed, some MiB a transaction; its row stays, and tells when.

    Returns whether all is gone: False where `go_on` said no. Safe to repeat and to break off. Raises ArchiveError.
    """
    chunks = OutputChunk.objects.filter(output_id=output.pk, output__removed_at__isnull=False).order_by("start")
    some = [0]
    while some:
        if not go_on():
            return False
        some = list(chunks.values_list("pk", flat=True)[:CHUNKS])
        OutputChunk.objects.filter(pk__in=some).delete()
    now = Output.objects.filter(pk=output.pk).values_list("archive", "removed_at").first()
    if now is None:
        return True  # another process has just removed the whole row
    name, removed_at = now
    if removed_at is None:
        return False
    OutputSegment.objects.filter(output_id=output.pk).delete()  # headings of steps are words of the output too
    try:
        if name:
            default_storage.delete(name)
    except Exception as error:  # storages raise what they like
        raise ArchiveError(f"the output of run {output.run_id} could not be removed: {error}") from error
    Output.objects.filter(pk=output.pk, archive=name).update(archive="", frames=[])
    return True


def discard_files(outputs: QuerySet[Output]) -> None:
    """Delete these outputs' files as soon as the transaction that deletes their rows is committed."""
    for name in outputs.exclude(archive="").values_list("archive", flat=True):
        transaction.on_commit(partial(default_storage.delete, name), robust=True)
