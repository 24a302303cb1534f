"""`/event/`: checks of repositories, the portal's own and those recorded from elsewhere."""

from __future__ import annotations

from accounts.roles import Level
from ci_portal.api.filters import filterset, time_filters
from ci_portal.api.problems import Problem
from ci_portal.api.resource import Collection, Resource, Row
from events.models import Event
from events.serializers import PORTAL, WIRE, EventSerializer
from logs.archive import discard_files
from logs.models import Log, Output

COMPARED = {
    name: attribute
    for name, attribute in {**WIRE, **PORTAL}.items()
    if name not in ("ctime", "ctime_utc", "finished_at", "status_label")
}


class Events(Resource):
    """What both URLs of events share."""

    noun = "event"
    row_url = "event-row"
    levels = {"POST": Level.BUILD}
    # Without the portal's own keys: fifty rows of them take a tenth of the time of a list.
    queryset = Event.objects.defer("created_token", "fingerprint", "active_key", "name_key", "tag_key")
    serializer_class = EventSerializer
    filterset_class = type(
        "EventFilters",
        (filterset(COMPARED, numbers=["id", "repository"], flags=["managed"], lists=["status"], times={"ctime": "ctime"}),),
        time_filters("finished_at", "finished_at"),
    )
    ordering_wire = {**COMPARED, "ctime": "ctime", "ctime_utc": "ctime", "finished_at": "finished_at"}
    search_fields = ["name", "repo", "job", "image", "image_tag", "desc", "commit", "reason", "created_by"]

    def refuse_delete(self, row: Event) -> None:
        """An event that the portal runs stays until it has an outcome."""
        if row.is_active:
            raise Problem(409, "active", "This event is not finished: cancel it or wait for its outcome, then delete.")

    def release(self, row: Event) -> None:
        """Its runs go with it, and their output with them."""
        discard_files(Output.objects.filter(run__event=row))

    def record(self, row: Event, msg: str) -> None:
        """Tied to the event, and to its repository where that is registered."""
        Log.objects.record(msg, repo_name=row.repo if row.repository_id else "", event=row, actor=self.actor())


class EventCollection(Events, Collection):
    """`/event/`."""


class EventRow(Events, Row):
    """`/event/7/`."""
