"""What the viewer in the browser asks for: `/job/{id}/output/index/`, `…/lines/` and `…/search/`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import orjson
from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils.dateparse import parse_datetime
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.views import APIView

from ci_portal.api.filters import refuse_parameters
from ci_portal.api.problems import Problem, field_error, invalid
from ci_portal.api.sentences import in_words
from logs import line_index, sections
from logs import search as searching
from logs.line_index import Index, open_index
from logs.models import Output, OutputStream
from logs.output_view import find_output, find_run
from logs.reading import ArchiveError
from logs.verdict import judge_stream

#: Lines of one answer, at most; gaps that are shown of one container.
COUNT, GAPS = 2000, 20
_BIGGEST_LINE = 2**40
NDJSON = "application/x-ndjson"


def indexed(output: Output) -> Index:
    """The output's index, as far as it is by now. Raises problems: 410 where retention has removed the output, 503."""
    if output.removed_at:
        raise Problem(
            410, "output_removed", f"This output was removed on {output.removed_at:%Y-%m-%d}, as retention is configured."
        )
    try:
        return open_index(output)
    except ArchiveError as error:
        raise _unreadable() from error


def _unreadable() -> Problem:
    return Problem(503, "storage", "The archived output can't be read now; try again later.")


def _json(content: Any) -> HttpResponse:
    return HttpResponse(orjson.dumps(content), content_type="application/json", headers={"Cache-Control": "no-store"})


def _number(request: Request, name: str, default: int, least: int, most: int) -> int:
    given = request.query_params.get(name, "")
    if not given:
        return default
    if not given.removeprefix("-").isascii() or not given.removeprefix("-").isdigit() or len(given) > 15:
        raise invalid(field_error(name, "must be a whole number."))
    if not least <= int(given) <= most:
        raise invalid(field_error(name, f"must be from {least} to {most}."))
    return int(given)


class OutputIndexView(APIView):
    """`GET /job/{id}/output/index/`."""

    @extend_schema(
        operation_id="job_output_index",
        summary="What there is to see in a run's output",
        description=(
            "How many lines there are, where each container and each step of the builder begins and ends, how they ended and how"
            " long they took, where bytes are missing, and the first line that looks like an error. Lines are counted from 1."
            " `complete` is false while the index of a large output is being made: ask again."
        ),
        responses={200: OpenApiTypes.OBJECT, 503: OpenApiResponse(description="The storage doesn't answer.")},
    )
    def get(self, request: Request, key: int) -> HttpResponseBase:
        """Sections, containers and gaps."""
        refuse_parameters(request)
        run = find_run(key)
        output = find_output(run)
        content: dict[str, Any] = {
            "run": output.run_id,
            "size": output.size,
            "lines": 0,
            "complete": True,
            "closed": output.closed_at is not None,
            "outcome": output.outcome,
            "verdict": output.verdict,
            "verdict_detail": in_words(output.verdict_detail),
            "not_stored": output.dropped,
            "removed_at": output.removed_at.astimezone(UTC).isoformat() if output.removed_at else None,
            "first_error": None,
            "containers": [],
            "sections": [],
            "gaps": [],
        }
        if not output.removed_at:
            try:
                content |= described(indexed(output), run)
            except ArchiveError as error:
                raise _unreadable() from error
        return _json(content)


def described(index: Index, run: Any) -> dict[str, Any]:
    """What is in the output, in numbers of lines from 1."""
    output = index.output
    streams = [one for one in (output.streams.order_by("position") if output.pk else ()) if one.raw_bytes or one.gaps]
    starts = [line_index.line_at(index, one.start) for one in streams]
    ended = _times(run, streams[-1].container)[1] if streams else None
    landmarks = line_index.all_landmarks(index)
    found = sections.cut(landmarks, starts, index.lines, output.outcome, line_index.milliseconds(ended) if ended else 0)
    return {
        "lines": index.lines,
        "complete": index.complete,
        "first_error": None if found.first_error is None else found.first_error + 1,
        "containers": [_container(one, start, run) for one, start in zip(streams, starts, strict=True)],
        "sections": [_section(one) for one in found.sections],
        "gaps": [
            {"line": line_index.line_at(index, offset) + 1, "container": one.container, "missing": missing}
            for one in streams
            for offset, missing in one.gaps[:GAPS]
        ],
    }


def _times(run: Any, container: str) -> tuple[datetime | None, datetime | None]:
    """When that container started and finished, as far as the run knows."""
    times = (run.phases or {}).get(container) or {}
    started, finished = (parse_datetime(times.get(key) or "") for key in ("started", "finished"))
    return started, finished


def _container(one: OutputStream, start: int, run: Any) -> dict[str, Any]:
    verdict, detail = judge_stream(one) if one.ended else ("", "")
    started, finished = _times(run, one.container)
    return {
        "name": one.container,
        "line": start + 1,
        "bytes": one.raw_bytes,
        "ended": one.ended,
        "verdict": verdict,
        "verdict_detail": in_words(detail),
        "seconds": (finished - started).total_seconds() if started and finished else None,
    }


def _section(one: sections.Section) -> dict[str, Any]:
    return {
        "key": one.key,
        "first": one.first + 1,
        "last": None if one.last is None else one.last + 1,
        "title": one.title,
        "state": one.state,
        "seconds": one.seconds,
    }


class OutputLinesView(APIView):
    """`GET /job/{id}/output/lines/`."""

    @extend_schema(
        operation_id="job_output_lines",
        summary="Some lines of a run's output",
        description=(
            "Lines from number `first`, counted from 1, or from the end where it is negative. Fewer than asked for where they are"
            " many bytes, or where the output ends. A line of more than 16 KiB is continued on the next one. `colours` are the"
            " parameters of an SGR sequence that is in force where the first line begins; `times` are pairs of row and milliseconds"
            " since 1970, each for the rows from there on; `start` and `end` are offsets in bytes."
        ),
        parameters=[
            OpenApiParameter("first", int, description="Number of the first line; -100: the last hundred."),
            OpenApiParameter("count", int, description=f"How many lines, {COUNT} at most."),
        ],
        responses={200: OpenApiTypes.OBJECT, 410: OpenApiResponse(description="Retention has removed the output.")},
    )
    def get(self, request: Request, key: int) -> HttpResponseBase:
        """The lines, with what is needed to show them and to go on."""
        refuse_parameters(request, {"first", "count"})
        first = _number(request, "first", 1, -_BIGGEST_LINE, _BIGGEST_LINE)
        count = _number(request, "count", 500, 1, COUNT)
        output = find_output(find_run(key))
        index = indexed(output)
        start = max(0, index.lines + first) if first < 0 else max(0, first - 1)
        try:
            found = line_index.read_lines(index, start, count)
        except ArchiveError as error:
            raise _unreadable() from error
        return _json(
            {
                "first": found.first + 1,
                "rows": found.texts,
                "colours": found.colours,
                "times": found.times,
                "start": found.start,
                "end": found.end,
                "partial": found.partial,
                "lines": index.lines,
                "size": output.size,
                "complete": index.complete,
                "closed": index.closed,
            }
        )


class OutputSearchView(APIView):
    """`GET /job/{id}/output/search/`."""

    costs = {"GET": "search"}

    @extend_schema(
        operation_id="job_output_search",
        summary="Search a run's output",
        description=(
            "Which lines hold the text `q`, as it is read: without escape sequences, and of a progress bar what was drawn last."
            " The answer comes while it is found, a JSON object on each line: `lines`, numbers counted from 1 of lines that were"
            f" found since the object before, {searching.TOLD} in all at most; `total`, how many there are so far; `line`, how far"
            f" it is. `done` is true in the last one; a search ends without it after {searching.SECONDS:.0f} seconds, and can be"
            " continued with `from`. `busy` is true where too many searches run: try again."
        ),
        parameters=[
            OpenApiParameter("q", str, required=True, description="The text."),
            OpenApiParameter("case", bool, description="`1`: upper and lower case differ."),
            OpenApiParameter("word", bool, description="`1`: whole words only."),
            OpenApiParameter("regex", bool, description="`1`: `q` is a regular expression, in the syntax of RE2."),
            OpenApiParameter("from", int, description="Number of the line to begin with."),
        ],
        responses={(200, NDJSON): OpenApiTypes.STR},
    )
    def get(self, request: Request, key: int) -> HttpResponseBase:
        """A stream of what is found."""
        refuse_parameters(request, {"q", "case", "word", "regex", "from"})
        query = request.query_params.get("q", "")
        if not query or len(query) > searching.LONGEST_QUERY or "\n" in query:
            raise invalid(field_error("q", f"must have from 1 to {searching.LONGEST_QUERY} characters, on one line."))
        flags = {name: request.query_params.get(name) == "1" for name in ("case", "word", "regex")}
        try:
            matcher = searching.Matcher(query, **flags)
        except searching.BadExpression as error:
            raise invalid(field_error("q", f"is not a regular expression: {error}.")) from None
        first = _number(request, "from", 1, 1, _BIGGEST_LINE) - 1
        index = indexed(find_output(find_run(key)))
        try:
            offset = line_index.read_lines(index, first, 1).start if first else 0
        except ArchiveError as error:
            raise _unreadable() from error
        found = searching.search(index, matcher, first, offset)
        return StreamingHttpResponse(
            _told(found, index.output.size),
            content_type=NDJSON,
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )


def _told(found: Iterable[searching.Progress], size: int) -> Iterator[bytes]:
    for progress in found:
        content = {
            "lines": [line + 1 for line in progress.lines],
            "total": progress.total,
            "line": progress.at + 1,
            "searched": progress.offset,
            "size": size,
            "done": progress.done,
            "busy": progress.busy,
        }
        yield orjson.dumps(content) + b"\n"
