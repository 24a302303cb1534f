"""Queries of lists by wire names: filters, search and ordering. What is not known is refused, never ignored."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import django_filters
from django import forms
from django.db.models import QuerySet
from django_filters.rest_framework import DjangoFilterBackend, FilterSet
from rest_framework import filters
from rest_framework.request import Request
from rest_framework.views import APIView

from ci_portal.api.problems import field_error, invalid
from ci_portal.api.times import TimeParameter

PAGING = ("page", "page_size")
BIGGEST = 2**31 - 1  # ids are INT columns


class LegacyParameter(TimeParameter):
    """A time of the legacy format, in the configured time zone."""


class UtcParameter(TimeParameter):
    """A time of ISO 8601; UTC where it names no offset."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(zone=UTC, **kwargs)


class Number(django_filters.Filter):
    """An id or count."""

    field_class = forms.IntegerField

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, min_value=0, max_value=BIGGEST, **kwargs)


class Flag(django_filters.Filter):
    """true or false."""

    field_class = forms.TypedChoiceField

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        choices = [("true", "true"), ("false", "false")]
        super().__init__(*args, choices=choices, coerce=lambda text: text == "true", empty_value=None, **kwargs)


class OneOf(django_filters.BaseInFilter, django_filters.CharFilter):
    """One of several texts, separated by commas."""


class Moment(django_filters.Filter):
    """The second that the legacy format names."""

    field_class = LegacyParameter

    def filter(self, qs: QuerySet[Any], value: datetime | None) -> QuerySet[Any]:
        """Keep what falls into that second."""
        if value is None:
            return qs
        return qs.filter(**{f"{self.field_name}__gte": value, f"{self.field_name}__lt": value + timedelta(seconds=1)})


class Since(django_filters.Filter):
    """Not before a time (`…_after`)."""

    field_class = UtcParameter


class LegacySince(django_filters.Filter):
    """Not before a time of the legacy format."""

    field_class = LegacyParameter


def time_filters(wire: str, attribute: str, *, old: bool = False) -> dict[str, django_filters.Filter]:
    """`<wire>_after` (inclusive) and `<wire>_before` (exclusive); for a legacy column also the second itself."""
    kind = LegacySince if old else Since
    found: dict[str, django_filters.Filter] = {
        f"{wire}_after": kind(field_name=attribute, lookup_expr="gte"),
        f"{wire}_before": kind(field_name=attribute, lookup_expr="lt"),
    }
    return {wire: Moment(field_name=attribute), **found} if old else found


class Given(FilterSet):
    """A FilterSet that makes only the filters that the query names: all of a table's would take longer than its SELECT."""

    base_filters: dict[str, django_filters.Filter]

    def __init__(self, data: Any = None, *args: Any, **kwargs: Any) -> None:
        self.base_filters = {name: each for name, each in self.base_filters.items() if name in (data or ())}
        super().__init__(data, *args, **kwargs)


def filterset(
    wire: dict[str, str],
    *,
    numbers: Iterable[str] = (),
    flags: Iterable[str] = (),
    lists: Iterable[str] = (),
    times: dict[str, str],
) -> type[FilterSet]:
    """A FilterSet over wire names. `wire`: name → attribute of every filter but those of `times`: legacy name → attribute."""
    kinds: dict[str, type[django_filters.Filter]] = {
        **dict.fromkeys(numbers, Number),
        **dict.fromkeys(flags, Flag),
        **dict.fromkeys(lists, OneOf),
    }
    found: dict[str, Any] = {}
    for name, attribute in wire.items():
        kind = kinds.get(name, django_filters.CharFilter)
        found[name] = kind(field_name=attribute, lookup_expr="in" if kind is OneOf else "exact")
    for name, attribute in times.items():
        found |= time_filters(name, attribute, old=True) | time_filters(f"{name}_utc", attribute)
    return type("Filters", (Given,), found)


class StrictFilters(DjangoFilterBackend):
    """django-filter, with unknown and repeated parameters refused."""

    def filter_queryset(self, request: Request, queryset: QuerySet[Any], view: APIView) -> QuerySet[Any]:
        """Filter. Raises a 400 problem that names each parameter that is unknown, repeated or unreadable."""
        known = {*self.get_filterset_class(view, queryset).base_filters, *PAGING, "ordering", "search"}
        refuse_parameters(request, known)
        found: QuerySet[Any] = super().filter_queryset(request, queryset, view)
        return found


class Ordering(filters.BaseFilterBackend):
    """`ordering=-ctime,name` by wire names (the view's `ordering_wire`); the newest first where it is not given.

    Ties go by id, in the direction of the last name: so an index of that column has the rows in order, and none need be sorted.
    """

    def filter_queryset(self, request: Request, queryset: QuerySet[Any], view: Any) -> QuerySet[Any]:
        """Order. Raises a 400 problem for a name that is unknown or given twice."""
        names = [name.strip() for name in request.query_params.get("ordering", "").split(",") if name.strip()]
        plain = [name.removeprefix("-") for name in names]
        bad = [name for name in plain if name not in view.ordering_wire or plain.count(name) > 1]
        if bad:
            known = ", ".join(view.ordering_wire)
            raise invalid(field_error("ordering", f"can't order by {', '.join(dict.fromkeys(bad))}; possible, each once: {known}."))
        order = [("-" if name.startswith("-") else "") + view.ordering_wire[name.removeprefix("-")] for name in names]
        tie = "-id" if not names or names[-1].startswith("-") else "id"
        return queryset.order_by(*order, *([] if "id" in plain else [tie]))

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        """For the OpenAPI description."""
        description = f"Names separated by commas, each with - in front for descending: {', '.join(view.ordering_wire)}."
        return [{"name": "ordering", "in": "query", "required": False, "description": description, "schema": {"type": "string"}}]


class Search(filters.SearchFilter):
    """`search`: rows where each word is in one of the view's `search_fields`."""

    search_description = "Words; each must be in one of the texts of a row."

    def get_search_terms(self, request: Request) -> list[str]:
        """The words. Raises a 400 problem for a text that can't be searched."""
        text = request.query_params.get("search", "")
        if len(text) > 200 or "\x00" in text:
            raise invalid(field_error("search", "must be at most 200 characters, without NUL."))
        terms: list[str] = super().get_search_terms(request)
        return terms


def refuse_parameters(request: Request, known: Iterable[str] = ()) -> None:
    """Raise a 400 problem that names each query parameter that is not known here or given twice."""
    allowed = set(known)
    unknown = [field_error(name, "is not a parameter here.", "unknown") for name in request.query_params if name not in allowed]
    repeated = [
        field_error(name, "is given twice.", "repeated") for name, values in request.query_params.lists() if len(values) > 1
    ]
    if unknown or repeated:
        raise invalid(*unknown, *repeated)
