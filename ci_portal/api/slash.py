"""Addresses without their last slash."""

from __future__ import annotations

from functools import partial

from django.http import HttpResponsePermanentRedirect
from django.middleware import common


class CommonMiddleware(common.CommonMiddleware):
    """Django's, but `/repo` leads to `/repo/` with 308: after a 301 clients repeat a POST as a GET, and it were lost in silence."""

    response_redirect_class = partial(HttpResponsePermanentRedirect, preserve_request=True)  # type: ignore[assignment]
