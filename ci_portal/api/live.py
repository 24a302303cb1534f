"""Parts of pages that renew themselves: a script asks for the same address again, and gets these parts alone, or a 304."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.cache import get_conditional_response, patch_vary_headers, set_response_etag

#: Sent by static/ci_portal/live.js.
HEADER = "X-Live"


def render_live(request: HttpRequest, template: str, parts: str, context: dict[str, Any]) -> HttpResponse:
    """Render `parts` for the script that looks again, else the whole page; nothing is sent where nothing has changed."""
    if HEADER not in request.headers:
        whole = render(request, template, context)
        patch_vary_headers(whole, [HEADER])
        return whole
    fresh: HttpResponse = render(request, parts, context)
    patch_vary_headers(fresh, [HEADER])
    set_response_etag(fresh)
    answer = get_conditional_response(request, etag=fresh["ETag"], response=fresh)
    assert isinstance(answer, HttpResponse)  # it was given one
    return answer
