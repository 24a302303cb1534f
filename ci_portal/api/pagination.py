"""Lists are `{count, next, previous, results}`; a page that does not exist is refused, naming the parameter.

No part of it takes longer the more rows there are, but for pages far behind: a `count` beyond COUNTED is remembered for a while.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from django.core.cache import cache
from django.db.models import QuerySet
from rest_framework import pagination
from rest_framework.request import Request
from rest_framework.response import Response

from ci_portal.api.problems import field_error, invalid

#: So many rows are counted for each answer. Databases count by reading: a million takes longer than all else, so that more than
#: these are counted once in so many seconds.
COUNTED = 1_000
REMEMBERED_SECONDS = 60


class PageNumberPagination(pagination.PageNumberPagination):
    """`page` counts from 1; `page_size` is at most 500, 50 where it is not given."""

    page_size_query_param = "page_size"
    max_page_size = 500
    last_page_strings = ()

    def get_page_size(self, request: Request) -> int:
        """The size asked for. Raises a 400 problem for what is no number from 1 to `max_page_size`."""
        text = request.query_params.get("page_size")
        if text is None:
            return int(self.page_size or self.max_page_size)
        if not (text.isascii() and text.isdigit() and len(text) < 6 and 1 <= int(text) <= self.max_page_size):
            raise invalid(field_error("page_size", f"must be a number from 1 to {self.max_page_size}."))
        return int(text)

    def paginate_queryset(self, queryset: QuerySet[Any], request: Request, view: Any = None) -> list[Any]:  # type: ignore[override]
        """One page as a list. Raises a 400 problem for a page that does not exist."""
        self.request = request
        size, text = self.get_page_size(request), request.query_params.get("page", "1")
        number = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
        start = (number - 1) * size
        rows = list(queryset[start : start + size + 1]) if number else []
        if not rows and number != 1:
            raise invalid(field_error("page", "there is no such page; the first is 1, and `next` leads to each that follows."))
        self.count = start + len(rows) if len(rows) <= size else counted(queryset)
        self.page = OnePage(number, len(rows) > size)  # type: ignore[assignment]
        return rows[:size]

    def get_paginated_response(self, data: Any) -> Response:
        """The envelope."""
        links = {"next": self.get_next_link(), "previous": self.get_previous_link()}
        return Response({"count": self.count, **links, "results": data})


@dataclass(frozen=True, slots=True)
class OnePage:
    """What links to the pages beside it are made from."""

    number: int
    more: bool

    def has_next(self) -> bool:
        """Whether rows follow."""
        return self.more

    def has_previous(self) -> bool:
        """Whether rows come before."""
        return self.number > 1

    def next_page_number(self) -> int:
        """The page after."""
        return self.number + 1

    def previous_page_number(self) -> int:
        """The page before."""
        return self.number - 1


def counted(queryset: QuerySet[Any]) -> int:
    """How many rows there are: now where they are at most COUNTED, else at most REMEMBERED_SECONDS ago."""
    unordered = queryset.order_by()
    sql, values = unordered.query.sql_with_params()
    key = f"count-{hashlib.sha256(repr((sql, values)).encode()).hexdigest()}"
    known: int | None = cache.get(key)
    if known is not None:
        return known
    found = unordered[: COUNTED + 1].count()
    if found > COUNTED:
        found = unordered.count()
        cache.set(key, found, REMEMBERED_SECONDS)
    return found
