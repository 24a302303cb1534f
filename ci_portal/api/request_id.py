"""One id for each request: in the response's `X-Request-ID`, in every problem, and in the log line of an unexpected error."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

HEADER = "X-Request-ID"
#: What a proxy or script may send; anything else could forge log lines and is replaced.
WELL_FORMED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)


class RequestIdMiddleware:
    """Takes a well-formed `X-Request-ID` from the request or makes one; puts it on `request.request_id` and on the response."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Handle one request."""
        sent = request.headers.get(HEADER, "")
        request.request_id = sent if WELL_FORMED.fullmatch(sent) else uuid.uuid4().hex  # type: ignore[attr-defined]
        response = self.get_response(request)
        response[HEADER] = request_id(request)
        return response


def request_id(request: object) -> str:
    """The id of this request (Django's or REST framework's); "" where no middleware gave it one."""
    return str(getattr(request, "request_id", ""))
