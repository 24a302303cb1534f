"""Parts of pages that renew themselves: a script asks for the same address again, and gets these parts alone, or a 304."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.cache import get_conditional_response, patch_vary_headers
from django.utils.translation import get_language

#: Sent by static/ci_portal/live.js.
HEADER = "X-Live"


def render_live(request: HttpRequest, template: str, parts: str, context: dict[str, Any], state: Any) -> HttpResponse:
    """Render `parts` for the script that looks again, else the whole page.

    `state` is what the parts show, but for how long ago it was: while it is the same nothing is rendered or sent.
    """
    if HEADER not in request.headers:
        whole = render(request, template, context)
        patch_vary_headers(whole, [HEADER])
        return whole
    etag = f'"{sha256(repr((get_language(), state)).encode()).hexdigest()[:32]}"'
    answer = get_conditional_response(request, etag=etag)
    if answer is None:
        answer = render(request, parts, context)
        answer["ETag"] = etag
    assert isinstance(answer, HttpResponse)
    patch_vary_headers(answer, [HEADER])
    return answer
