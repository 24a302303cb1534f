"""Lists are `{count, next, previous, results}`; a page that does not exist is refused, naming the parameter."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from rest_framework import pagination
from rest_framework.request import Request

from ci_portal.api.problems import field_error, invalid


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
        text = request.query_params.get("page", "1")
        number = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
        paginator = self.django_paginator_class(queryset, self.get_page_size(request))
        if not 1 <= number <= paginator.num_pages:
            raise invalid(field_error("page", f"must be a number from 1 to {paginator.num_pages}."))
        self.page = paginator.page(number)
        return list(self.page)
