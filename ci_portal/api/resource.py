"""One table over HTTP: its collection (`/event/`) and its rows (`/event/7/`), each write with a line of history."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

from django.db import DataError, IntegrityError
from django.db.models import Model, QuerySet
from django.urls import reverse
from rest_framework.generics import GenericAPIView
from rest_framework.mixins import ListModelMixin
from rest_framework.request import Request
from rest_framework.response import Response

from ci_portal.api.filters import BIGGEST, Ordering, Search, StrictFilters, refuse_parameters
from ci_portal.api.parsers import fields_of
from ci_portal.api.problems import Problem, field_error, invalid
from ci_portal.api.retry import in_transaction
from ci_portal.api.wire import WireSerializer

T = TypeVar("T")
Named = tuple[str, str]  # the field that names a row, and its value


class Resource(GenericAPIView):
    """What both URLs of a table share. Subclasses say what the table is; `Collection` and `Row` say what can be done."""

    noun: ClassVar[str]  # in sentences: repository, event, run, log entry
    row_url: ClassVar[str]  # name of the row's URL
    identifiers: ClassVar[tuple[str, ...]] = ("id",)  # wire names that name a row on the collection
    ordering_wire: ClassVar[dict[str, str]]  # wire name → attribute
    filterset_class: ClassVar[Any]
    search_fields: ClassVar[list[str]]
    queryset: Any
    filter_backends = [StrictFilters, Search, Ordering]

    # What a table decides for itself.

    def get_queryset(self) -> QuerySet[Any]:
        """The rows with all that their answers need."""
        return super().get_queryset()

    def named(self, queryset: QuerySet[Any], by: Named) -> QuerySet[Any]:
        """Keep the row that an identifier names."""
        text = by[1]
        return queryset.filter(pk=int(text)) if is_id(text) else queryset.none()

    def refuse_delete(self, row: Any) -> None:
        """Raise a Problem where the row must stay."""

    def release(self, row: Any) -> None:
        """Let go of what belongs to a row that is about to be deleted and lies outside the database."""

    def record(self, row: Any, msg: str) -> None:
        """Write a line of history about the row."""
        raise NotImplementedError

    # What is the same for all.

    def actor(self) -> str:
        """Who sends the request; "" for nobody in particular."""
        return str(self.request.user.get_username()) if self.request.user else ""

    def find(self, by: Named, *, lock: bool = False) -> Any:
        """The row. Raises a 404 problem."""
        queryset = self.queryset.model._default_manager.select_for_update() if lock else self.get_queryset()
        row = self.named(queryset, by).first()
        if row is None:
            message = f"There is no {self.noun} {by[1][:150]!r}."
            raise Problem(404, "not_found", message, errors=[field_error(by[0], message, "not_found")])
        return row

    def serializer(self, row: Any, body: dict[str, Any], *, partial: bool = False) -> WireSerializer:
        """The validated body. Raises ValidationError."""
        serializer = self.get_serializer(row, data=body, partial=partial)
        assert isinstance(serializer, WireSerializer)
        serializer.is_valid(raise_exception=True)
        return serializer

    def answer(self, row: Model, status: int = 200) -> Response:
        """The row as it is now."""
        url = reverse(self.row_url, args=[row.pk])
        headers = {"Location": url} if status == 201 else None
        return Response(self.get_serializer(self.get_queryset().get(pk=row.pk)).data, status=status, headers=headers)

    def write(self, work: Callable[[], T]) -> T:
        """Do it in one transaction. Raises Problem for what only the database can tell."""
        try:
            return in_transaction(work)
        except IntegrityError:
            raise Problem(409, "conflict", "Another request has just written a value that only one row can have.") from None
        except DataError:
            raise Problem(400, "not_storable", "The database can't hold one of these values in its column.") from None

    def change(self, by: Named, body: dict[str, Any], *, partial: bool) -> Response:
        """Change the row, with a line of history in the same transaction where anything changed."""

        def work() -> Any:
            row = self.find(by, lock=True)
            serializer = self.serializer(self.get_queryset().get(pk=row.pk), body, partial=partial)
            row = serializer.save()
            if serializer.changes:
                self.record(row, f"{self.noun} {self.title(row)} changed: {'; '.join(serializer.changes)}")
            return row

        return self.answer(self.write(work))

    def remove(self, by: Named) -> Response:
        """Delete the row, with a line of history in the same transaction."""

        def work() -> None:
            row = self.find(by, lock=True)
            self.refuse_delete(row)
            self.record(row, f"{self.noun} {self.title(row)} deleted")
            self.release(row)
            row.delete()

        self.write(work)
        return Response(status=204)

    def title(self, row: Any) -> str:
        """The row in a sentence."""
        return str(row)

    def options(self, request: Any, *args: Any, **kwargs: Any) -> Response:
        """Which methods there are: the Allow header."""
        return Response(status=204)


class Collection(ListModelMixin, Resource):
    """`/event/`: list and add; change and delete the row that `id` names in the query or body."""

    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """List rows, filtered, searched and ordered by wire names."""
        return self.list(request)

    def post(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Add a row."""
        refuse_parameters(request)
        body = fields_of(request)

        def work() -> Any:
            serializer = self.serializer(None, body)
            row = serializer.save()
            self.record_created(row, serializer.changes)
            return row

        return self.answer(self.write(work), 201)

    def record_created(self, row: Any, changes: list[str]) -> None:
        """Write the line of history about a new row."""
        self.record(row, f"{self.noun} {self.title(row)} added: {'; '.join(changes)}".removesuffix(": "))

    def patch(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Change the row that `id` names."""
        by, body = self.name_row(request)
        return self.change(by, body, partial=True)

    def delete(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Delete the row that `id` names."""
        by, body = self.name_row(request)
        refuse_fields(body)
        return self.remove(by)

    def name_row(self, request: Request) -> tuple[Named, dict[str, Any]]:
        """Which row a request to the collection means: the query says it, else the body; and the rest of the body.

        The first of `identifiers` that is there names the row, so that with `id` a body can change the others. Raises a 400
        problem.
        """
        refuse_parameters(request, self.identifiers)
        body = dict(fields_of(request))
        sent = [name for name in self.identifiers if name in request.query_params]
        if len(sent) > 1:
            raise invalid(field_error(sent[1], f"{sent[0]} names the row already.", "repeated"))
        if sent:
            return (sent[0], request.query_params[sent[0]]), body
        for name in self.identifiers:
            if name in body:
                value = body.pop(name)
                if isinstance(value, bool) or not isinstance(value, int | str):
                    raise invalid(field_error(name, f"must name a {self.noun}."))
                return (name, str(value)), body
        names = " or ".join(self.identifiers)
        raise invalid(field_error("id", f"{names}, in the body or the query, must name the {self.noun}.", "required"))


class Row(Resource):
    """`/event/7/`: read, replace, change and delete one row."""

    def by(self) -> Named:
        """What the path names."""
        return "id", str(self.kwargs["key"])

    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Read the row."""
        refuse_parameters(request)
        return Response(self.get_serializer(self.find(self.by())).data)

    def put(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Replace the row: what the body does not name goes back to its default, but for times and credentials."""
        refuse_parameters(request)
        return self.change(self.by(), fields_of(request), partial=False)

    def patch(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Change what the body names."""
        refuse_parameters(request)
        return self.change(self.by(), fields_of(request), partial=True)

    def delete(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Delete the row."""
        refuse_parameters(request)
        refuse_fields(fields_of(request))
        return self.remove(self.by())


def is_id(text: str) -> bool:
    """Whether the text is digits that an id can have."""
    return text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= BIGGEST


def refuse_fields(body: dict[str, Any]) -> None:
    """Raise a 400 problem that names each field, where a body has none."""
    if body:
        raise invalid(*(field_error(name, "has no place in this request.", "unknown") for name in body))
