"""`/job/{id}/output/`: what a run printed, as text, in ranges, or live; and `/job/{id}/output/status/`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC
from itertools import chain
from typing import Any

from django.apps import apps
from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils.cache import patch_vary_headers
from django.utils.http import content_disposition_header
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from ci_portal.api.connections import without_connection
from ci_portal.api.filters import BIGGEST, refuse_parameters
from ci_portal.api.problems import Problem, field_error, invalid
from logs import byte_range, stream
from logs.models import Output, OutputStream
from logs.reading import ArchiveError, read
from logs.verdict import judge_stream

TEXT = "text/plain; charset=utf-8"
EVENTS = "text/event-stream"


class AnyAccept(BaseContentNegotiation):
    """Answer whatever the client accepts: the view itself chooses between text and events, and errors are always JSON."""

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        """The first one."""
        first = next(iter(renderers))
        return first, first.media_type or ""


def find_run(key: int) -> Any:
    """The run. Raises a 404 problem."""
    run = apps.get_model("runners", "Run").objects.filter(pk=key).first() if key <= BIGGEST else None
    if run is None:
        raise Problem(404, "not_found", f"There is no run {key}.")
    return run


def find_output(run: Any) -> Output:
    """The run's output; an empty one, not in the database, where it has none (yet)."""
    found = Output.objects.filter(run_id=run.pk).first()
    return found or Output(run_id=run.pk, outcome="" if run.is_active else (run.status or "")[:10])


class OutputView(APIView):
    """`GET /job/{id}/output/`."""

    content_negotiation_class = AnyAccept

    @extend_schema(
        operation_id="job_output",
        summary="What a run printed",
        description=(
            "The stored bytes, secrets masked. `Range: bytes=…` is supported; a finished output has an ETag.\n\n"
            "With `Accept: text/event-stream` the output comes as server-sent events while it is printed. `output` events have the"
            " offset after them as `id` and their text as one JSON string in `data`; send the last id as `Last-Event-ID` (or"
            " `?from=`) to go on there. The `end` event holds outcome, verdict and size as JSON; close the EventSource on it."
        ),
        parameters=[
            OpenApiParameter("download", bool, description="`1`: as a file to save."),
            OpenApiParameter("from", int, description="Offset at which events start."),
            OpenApiParameter("Range", str, OpenApiParameter.HEADER),
            OpenApiParameter("Last-Event-ID", int, OpenApiParameter.HEADER),
        ],
        responses={
            (200, "text/plain"): OpenApiResponse(OpenApiTypes.STR, "All that is stored."),
            (200, EVENTS): OpenApiResponse(OpenApiTypes.STR, "Events until the output ends."),
            (206, "text/plain"): OpenApiResponse(OpenApiTypes.STR, "The range."),
            304: OpenApiResponse(description="Not changed."),
            410: OpenApiResponse(description="Retention has removed the output."),
            416: OpenApiResponse(description="The range, or the offset of the last event, lies beyond the end."),
        },
    )
    def get(self, request: Request, key: int) -> HttpResponseBase:
        """Answer with text, a range of it, or events."""
        refuse_parameters(request, {"download", "from"})
        run = find_run(key)
        output = find_output(run)
        if output.removed_at:
            raise Problem(
                410, "output_removed", f"This output was removed on {output.removed_at:%Y-%m-%d}, as retention is configured."
            )
        accepted = [part.partition(";")[0].strip().lower() for part in request.headers.get("Accept", "").split(",")]
        response = live(request, output) if EVENTS in accepted else text(request, output)
        if response.streaming or response.status_code == 200:
            name = content_disposition_header(request.query_params.get("download") == "1", f"{run.name or f'run-{run.pk}'}.log")
            response["Content-Disposition"] = name or "inline"
        patch_vary_headers(response, ("Accept",))
        response["X-Content-Type-Options"] = "nosniff"
        return response


def live(request: Request, output: Output) -> HttpResponseBase:
    """The event stream, from where the client has it."""
    given = request.headers.get("Last-Event-ID") or request.query_params.get("from") or "0"
    if not (given.isascii() and given.isdigit() and len(given) < 20):
        raise invalid(field_error("from", "must be an offset in bytes, as the id of an event says it."))
    if int(given) > output.size:
        raise Problem(416, "beyond_end", f"The output has {output.size} bytes so far; start again from 0.", size=output.size)
    events = stream.live(output.run_id, int(given)) if request.method == "GET" else ()
    return StreamingHttpResponse(events, content_type=EVENTS, headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})


def text(request: Request, output: Output) -> HttpResponseBase:
    """The bytes that are stored now, or the range of them that was asked for."""
    headers = _state(output)
    tag = headers.get("ETag", "")
    if tag and tag in [given.strip().removeprefix("W/") for given in request.headers.get("If-None-Match", "").split(",")]:
        return HttpResponse(status=304, headers=headers)
    try:
        wanted = byte_range.parse(request.headers.get("Range", ""), output.size) if request.method == "GET" else None
    except byte_range.Unsatisfiable:
        size = output.size
        raise Problem(
            416, "range", f"The output has {size} bytes.", headers={"Content-Range": f"bytes */{size}"}, size=size
        ) from None
    if request.headers.get("If-Range", tag) != tag:
        wanted = None
    start, end = wanted or (0, output.size)
    headers["Content-Length"] = str(end - start)
    if wanted:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{output.size}"
    body = () if request.method == "HEAD" else _begun(without_connection(read(output, start, end)))
    return StreamingHttpResponse(body, status=206 if wanted else 200, content_type=TEXT, headers=headers)


def _begun(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Read the first piece now, while an error can still be told."""
    try:
        first = next(pieces, b"")
    except ArchiveError as error:
        raise Problem(503, "storage", "The archived output can't be read now; try again later.") from error
    return chain((first,), pieces)


def _state(output: Output) -> dict[str, str]:
    closed = output.closed_at is not None
    headers = {
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-cache" if closed else "no-store",
        "X-Output-Complete": "true" if closed or output.outcome else "false",
        "X-Output-Verdict": output.verdict,
    }
    if closed:
        headers["ETag"] = f'"{output.pk}-{output.size}"'
    return headers


class OutputStatusView(APIView):
    """`GET /job/{id}/output/status/`."""

    @extend_schema(operation_id="job_output_status", summary="How far a run's output is", responses={200: OpenApiTypes.OBJECT})
    def get(self, request: Request, key: int) -> Response:
        """Size, verdict and the containers' shares."""
        refuse_parameters(request)
        output = find_output(find_run(key))
        streams = output.streams.order_by("position") if output.pk else ()
        return Response(
            {
                "run": output.run_id,
                "size": output.size,
                "closed": output.closed_at is not None,
                "closed_at": output.closed_at.astimezone(UTC).isoformat() if output.closed_at else None,
                "outcome": output.outcome,
                "verdict": output.verdict,
                "verdict_detail": output.verdict_detail,
                "not_stored": output.dropped,
                "archived": output.archived_at is not None,
                "removed_at": output.removed_at.astimezone(UTC).isoformat() if output.removed_at else None,
                "streams": [_stream(one) for one in streams],
            }
        )


def _stream(one: OutputStream) -> dict[str, Any]:
    verdict, detail = judge_stream(one) if one.ended else ("", "")
    return {
        "container": one.container,
        "start": one.start,
        "raw_bytes": one.raw_bytes,
        "ended": one.ended,
        "verdict": verdict,
        "verdict_detail": detail,
        "gaps": [{"offset": offset, "missing": missing} for offset, missing in one.gaps],
    }
