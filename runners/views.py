"""`/job/`: runs, those the portal launched and those recorded from elsewhere."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet

from accounts.roles import Level
from ci_portal.api.filters import filterset, time_filters
from ci_portal.api.problems import Problem
from ci_portal.api.resource import Collection, Resource, Row
from logs.archive import discard_files
from logs.models import Log, Output
from runners.models import Run
from runners.serializers import PORTAL, WIRE, RunSerializer, described

TIMES = ("launched_at", "started_at", "finished_at", "cancel_requested_at")
COMPARED = {
    name: attribute
    for name, attribute in {**WIRE, **PORTAL}.items()
    if name not in ("ctime", "ctime_utc", "phases", "output_bytes", *TIMES)
}


class Runs(Resource):
    """What both URLs of runs share."""

    noun = "run"
    row_url = "job-row"
    levels = {"POST": Level.BUILD}
    queryset = Run.objects.all()
    serializer_class = RunSerializer
    filterset_class = type(
        "RunFilters",
        (
            filterset(
                COMPARED,
                numbers=["id", "event", "attempt"],
                flags=["managed", "automatic"],
                lists=["status"],
                times={"ctime": "ctime"},
            ),
        ),
        {name: kind for time in TIMES for name, kind in time_filters(time, time).items()},
    )
    ordering_wire = {**COMPARED, "ctime": "ctime", "ctime_utc": "ctime", **{time: time for time in TIMES}}
    search_fields = ["name", "image_repo", "image_name", "image_tag", "repo_path", "desc", "commit", "reason"]

    def get_queryset(self) -> QuerySet[Any]:
        """With all that their answers need."""
        return described(Run.objects.all())

    def refuse_delete(self, row: Run) -> None:
        """A run that the portal launched stays until it has an outcome."""
        if row.is_active:
            raise Problem(409, "active", "This run is not finished: cancel it or wait for its outcome, then delete.")

    def release(self, row: Run) -> None:
        """Its output goes with it."""
        discard_files(Output.objects.filter(run=row))

    def record(self, row: Run, msg: str) -> None:
        """Tied to the run, and to its event and repository where it has them."""
        repo_name = row.event.repo if row.event and row.event.repository_id else ""
        Log.objects.record(msg, repo_name=repo_name, event=row.event, run=row, actor=self.actor())


class RunCollection(Runs, Collection):
    """`/job/`."""


class RunRow(Runs, Row):
    """`/job/7/`."""
