"""Where the lines of an output are: a sparse index, so that any of a million lines is read without those before it.

A line ends with its line feed; one that is longer than LONGEST is continued on the next, cut between characters. About every MiB of
whole lines is a segment, whose row (`OutputSegment`) has a mark every 64 KiB. Segments follow from the bytes alone: whoever needs
one that is missing makes it (a reader, or the one who archives), and two who make the same make the same. What comes after the last
segment, less than a MiB of an output that is indexed, is looked through each time.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Q

from logs import landmarks, sgr
from logs.landmarks import Landmark
from logs.models import Output, OutputChunk, OutputSegment
from logs.reading import CHUNK, read

#: Bytes of a segment, at most; between two marks, at least; of a line, at most.
SEGMENT = 1 << 20
MARK = 64 << 10
LONGEST = 16 << 10
#: Segments that are made and saved together.
BATCH = 8
#: Bytes of lines that one answer holds, about.
ANSWER = 512 << 10


def steps(data: bytes, last: bool) -> Iterator[tuple[int, int, int]]:
    """Go through whole lines: yield (start, end, number of lines), each at most LONGEST bytes. `last`: no byte follows the data."""
    at = 0
    while at < len(data):
        end, count = data.rfind(b"\n", at, at + LONGEST) + 1, 1
        if end:
            count = data.count(b"\n", at, end)
        elif len(data) - at > LONGEST:
            end = _between_characters(data, at + LONGEST)
        elif last:
            end = len(data)
        else:
            return
        yield at, end, count
        at = end


def _between_characters(data: bytes, at: int) -> int:
    for back in range(4):
        if data[at - back] & 0xC0 != 0x80:
            return at - back
    return at


@dataclass(slots=True)
class Index:
    """What is known of an output's lines at one moment."""

    output: Output
    line: int = 0  # number of the first line after the last segment
    offset: int = 0  # where that begins
    colours: str = ""
    complete: bool = True  # False: more segments are still to be made
    rest: bytes = b""  # what follows the last segment; empty where not complete
    lines: int = 0  # number of lines, one that is not ended yet included
    partial: bool = False  # the last line is not ended yet

    @property
    def closed(self) -> bool:
        """Whether no byte will follow."""
        return self.output.closed_at is not None


def open_index(output: Output, seconds: float = 0.25) -> Index:
    """Bring the index up to date, for about so long, and return what is known then."""
    index = _standing(output)
    _extend(index, time.monotonic() + seconds)
    index.lines = index.line
    if index.complete and index.offset < output.size:
        index.rest = b"".join(read(output, index.offset, output.size))
        found = list(steps(index.rest, False))
        index.partial = (found[-1][1] if found else 0) < len(index.rest)
        index.lines += sum(count for _, _, count in found) + index.partial
    return index


def complete(output: Output) -> None:
    """Make all segments that can be made."""
    _extend(_standing(output), float("inf"))


def _standing(output: Output) -> Index:
    index = Index(output)
    newest = (
        OutputSegment.objects.filter(output_id=output.pk).order_by("-start").values_list("first_line", "lines", "end", "colours")
    )
    for first, lines, index.offset, index.colours in newest[:1]:
        index.line = first + lines
    return index


def _extend(index: Index, until: float) -> None:
    batch: list[OutputSegment] = []
    output = index.output
    while output.size - index.offset >= SEGMENT or (index.closed and index.offset < output.size):
        if time.monotonic() > until:
            index.complete = False
            break
        segment = _segment(index)
        if segment is None:
            break  # bytes are missing: the output is being removed
        batch.append(segment)
        index.line, index.offset, index.colours = segment.first_line + segment.lines, segment.end, segment.colours
        if len(batch) == BATCH:
            OutputSegment.objects.bulk_create(batch, ignore_conflicts=True)
            batch = []
    if batch:
        OutputSegment.objects.bulk_create(batch, ignore_conflicts=True)


def _segment(index: Index) -> OutputSegment | None:
    output, start = index.output, index.offset
    before = b"".join(read(output, max(0, start - 2), start))
    data = b"".join(read(output, start, min(start + SEGMENT, output.size)))
    if start + len(data) != min(start + SEGMENT, output.size):
        return None
    line, colours = index.line, index.colours
    marks: list[tuple[int, int, str]] = [(line, start, colours)]
    found = list(steps(data, index.closed and start + len(data) == output.size))
    for begin, _, count in found:
        if start + begin - marks[-1][1] >= MARK:
            colours = sgr.after(colours, data[marks[-1][1] - start : begin])
            marks.append((line, start + begin, colours))
        line += count
    end = found[-1][1]
    data = data[:end]
    times = chunk_times(output, start, start + end)
    return OutputSegment(
        output_id=output.pk,
        start=start,
        end=start + end,
        first_line=index.line,
        lines=line - index.line,
        marks=marks,
        landmarks=[list(each) for each in number(data, before, index.line, found, start, times)],
        times=times,
        colours=sgr.after(colours, data[marks[-1][1] - start :]),
    )


def number(
    data: bytes, before: bytes, line: int, found: list[tuple[int, int, int]], start: int, times: list[list[int]]
) -> list[Landmark]:
    """The landmarks in these whole lines, of which `line` is the number of the first and `start` its offset, in order."""
    marked = []
    step = moment = 0
    for offset, kind, key, text in landmarks.find(data, before):
        while step < len(found) - 1 and found[step][1] <= offset:
            line += found[step][2]
            step += 1
        while moment < len(times) and times[moment][0] <= start + offset:
            moment += 1
        begin, _, count = found[step]
        inside = data.count(b"\n", begin, offset) if count > 1 else 0
        marked.append(Landmark(line + inside, kind, key, text, times[moment - 1][1] if moment else 0))
    return marked


def chunk_times(output: Output, start: int, end: int) -> list[list[int]]:
    """[offset, milliseconds since 1970] of the pieces of that part that are in the database."""
    near = Q(start__gt=start - CHUNK, start__lt=end)
    rows = OutputChunk.objects.filter(near, output_id=output.pk, printed_at__isnull=False).order_by("start")
    times: dict[int, int] = {}
    for first, printed_at in rows.values_list("start", "printed_at"):
        if printed_at:
            times[max(first, start)] = milliseconds(printed_at)  # the last one that began before stands for the start
    return [[offset, at] for offset, at in times.items()]


def milliseconds(moment: datetime) -> int:
    """Since 1970, as JavaScript counts."""
    return int(moment.timestamp() * 1000)


def all_landmarks(index: Index) -> Iterator[Landmark]:
    """Those of the whole output, in order."""
    segments = OutputSegment.objects.filter(output_id=index.output.pk).order_by("start")
    for found in segments.exclude(landmarks=[]).values_list("landmarks", flat=True).iterator(200):
        yield from (Landmark(*each) for each in found)
    if index.rest:
        before = b"".join(read(index.output, max(0, index.offset - 2), index.offset))
        whole = list(steps(index.rest, False))
        times = chunk_times(index.output, index.offset, index.output.size)
        yield from number(index.rest[: whole[-1][1] if whole else 0], before, index.line, whole, index.offset, times)


@dataclass(slots=True)
class Lines:
    """Consecutive lines of an output."""

    first: int
    texts: list[str]
    colours: str  # in force where the first begins
    start: int  # offset of the first
    end: int  # offset after the last
    partial: bool  # the last one is not ended yet
    times: list[list[int]]  # [row, milliseconds]: from that row on


def read_lines(index: Index, first: int, count: int) -> Lines:
    """Up to `count` lines from number `first` on; fewer where they are many bytes, none beyond the end."""
    line, offset, colours = _mark_before(index, first)
    output = index.output
    if offset >= index.offset and index.complete:
        data = index.rest
    else:
        upto = output.size if index.complete else index.offset
        data = b"".join(read(output, offset, min(upto, offset + MARK + 2 * LONGEST + ANSWER)))
    ends = offset + len(data) == output.size
    at = 0
    for begin, end, lines in steps(data, ends):
        if line + lines > first:
            at = begin
            break
        line, at = line + lines, end
    places: list[tuple[int, int]] = []
    skip = at
    for begin, end in _single(data, at, ends):
        if line >= first:
            places.append((begin, end))
        else:
            skip = end
        line += 1
        if len(places) >= count or end - (places[0][0] if places else end) > ANSWER:
            break
    return _lines(index, data, offset, first, places, sgr.after(colours, data[:skip]))


def _lines(index: Index, data: bytes, offset: int, first: int, places: list[tuple[int, int]], colours: str) -> Lines:
    start, end = (places[0][0], places[-1][1]) if places else (len(data), len(data))
    partial = bool(places) and not index.closed and offset + end == index.output.size and data[end - 1 : end] != b"\n"
    if partial:
        whole = _whole_characters(data, places[-1][0], end)
        end, places[-1] = whole, (places[-1][0], whole)
    texts = [data[begin:stop].removesuffix(b"\n").decode("utf-8", "replace") for begin, stop in places]
    times = _row_times(index, [offset + begin for begin, _ in places])
    return Lines(first, texts, colours, offset + start, offset + end, partial, times)


def _whole_characters(data: bytes, start: int, end: int) -> int:
    """`end`, less what begins a character there and doesn't complete it."""
    for back in range(1, min(4, end - start + 1)):
        byte = data[end - back]
        if byte & 0xC0 == 0xC0:
            return end if back >= (2 if byte < 0xE0 else 3 if byte < 0xF0 else 4) else end - back
        if byte < 0x80:
            return end
    return end


def _single(data: bytes, at: int, last: bool) -> Iterator[tuple[int, int]]:
    """Start and end of each line."""
    while at < len(data):
        end = data.find(b"\n", at, at + LONGEST) + 1
        if not end:
            if len(data) - at > LONGEST:
                end = _between_characters(data, at + LONGEST)
            elif last:
                end = len(data)
            else:
                return
        yield at, end
        at = end


def _mark_before(index: Index, line: int) -> tuple[int, int, str]:
    """(line, offset, colours) of a place at or a little before that line."""
    if line < index.line:
        segments = OutputSegment.objects.filter(output_id=index.output.pk, first_line__lte=line).order_by("-first_line", "-start")
        for marks in segments.values_list("marks", flat=True)[:1]:
            return next((number, offset, colours) for number, offset, colours in reversed(marks) if number <= line)
    return index.line, index.offset, index.colours


def line_at(index: Index, offset: int) -> int:
    """The number of the line that has this byte, or begins with it."""
    line, at, data = index.line, index.offset, index.rest
    if offset < index.offset:
        segments = OutputSegment.objects.filter(output_id=index.output.pk, start__lte=offset).order_by("-start")
        for marks in segments.values_list("marks", flat=True)[:1]:
            line, at, _ = next(mark for mark in reversed(marks) if mark[1] <= offset)
        data = b"".join(read(index.output, at, min(index.offset, offset + LONGEST + 1)))
    for begin, end, count in steps(data, index.closed):
        if at + end > offset:
            return line + (data.count(b"\n", begin, offset - at) if count > 1 else 0)
        line += count
    return line


def times_of(index: Index, start: int, end: int) -> list[list[int]]:
    """[offset, milliseconds] for that part, the first of them at or before its start."""
    if index.output.archived_at is None:
        return chunk_times(index.output, start, end)
    segments = OutputSegment.objects.filter(output_id=index.output.pk, start__lt=end, end__gt=start).order_by("start")
    return [each for times in segments.values_list("times", flat=True) for each in times if each[0] < end]


def _row_times(index: Index, offsets: list[int]) -> list[list[int]]:
    if not offsets:
        return []
    found: list[list[int]] = []
    times = times_of(index, offsets[0], offsets[-1] + 1)
    at = -1
    for row, offset in enumerate(offsets):
        while at + 1 < len(times) and times[at + 1][0] <= offset:
            at += 1
        if at >= 0 and (not found or found[-1][1] != times[at][1]):
            found.append([row, times[at][1]])
    return found
