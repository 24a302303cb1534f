"""`/repo/`: the registered repositories."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet

from accounts.roles import Level
from ci_portal.api.filters import filterset
from ci_portal.api.problems import Problem
from ci_portal.api.resource import Collection, Named, Resource, Row
from logs.models import Log
from repos.models import Repository
from repos.serializers import PORTAL, WIRE, RepositorySerializer, described

COMPARED = {name: attribute for name, attribute in {**WIRE, **PORTAL}.items() if name != "Time"}


class Repositories(Resource):
    """What both URLs of repositories share; `repo_name` works wherever `id` does."""

    noun = "repository"
    row_url = "repo-row"
    identifiers = ("id", "repo_name")
    #: Builders add repositories and change how they are built; the serializer keeps URLs and credentials for admins.
    levels = {"POST": Level.BUILD, "PUT": Level.BUILD, "PATCH": Level.BUILD}
    queryset = Repository.objects.all()
    serializer_class = RepositorySerializer
    filterset_class = filterset(COMPARED, numbers=["id"], flags=["supersede"], times={"Time": "time"})
    ordering_wire = {**WIRE, **PORTAL, "Time_utc": "time"}
    search_fields = ["repo_name", "repo", "branch", "tag", "image", "name", "user", "desc"]

    def get_queryset(self) -> QuerySet[Any]:
        """With all that their answers need."""
        return described(Repository.objects.all())

    def named(self, queryset: QuerySet[Any], by: Named) -> QuerySet[Any]:
        """By id or by name."""
        field, text = by
        if field == "id" and text.isascii() and text.isdigit():
            return super().named(queryset, by)
        return queryset.filter(repo_name=text)

    def refuse_delete(self, row: Repository) -> None:
        """A repository with active events stays."""
        active = row.events.active().values_list("id", flat=True).first()
        if active is not None:
            detail = f"Event {active} of this repository is not finished: cancel it or wait for its outcome, then delete."
            raise Problem(409, "active", detail, event=active)

    def record(self, row: Repository, msg: str) -> None:
        """The history stays when the repository goes."""
        Log.objects.record(msg, repo_name=row.repo_name, actor=self.actor())


class RepositoryCollection(Repositories, Collection):
    """`/repo/`."""


class RepositoryRow(Repositories, Row):
    """`/repo/7/` or `/repo/prometh_exporter/`: digits are an id, anything else is a `repo_name`."""
