"""`/log/`: the history."""

from __future__ import annotations

from accounts.models import AuditEntry
from accounts.roles import Level
from ci_portal.api.filters import filterset
from ci_portal.api.resource import Collection, Resource, Row
from logs.models import Log
from logs.serializers import LogSerializer

COMPARED = {
    "id": "id",
    "Repo_name": "repository_id",
    "event_uuid": "event_id",
    "Runner_uuid": "run_id",
    "msg": "msg",
    "actor": "actor",
}


class Logs(Resource):
    """What both URLs of the history share. Changing or deleting a line is a line itself."""

    noun = "log entry"
    row_url = "log-row"
    levels = {"POST": Level.BUILD}
    queryset = Log.objects.all()
    serializer_class = LogSerializer
    filterset_class = filterset(COMPARED, numbers=["id", "event_uuid", "Runner_uuid"], times={"create_at": "create_at"})
    ordering_wire = {**COMPARED, "create_at": "create_at", "create_at_utc": "create_at"}
    search_fields = ["msg", "actor"]

    def title(self, row: Log) -> str:
        """Its id; its text may be long."""
        return str(row.pk)

    def record(self, row: Log, msg: str) -> None:
        """Tied to what the line was tied to. The audit has it too, which nobody can change."""
        AuditEntry.objects.record("change", row.repository_id or "", msg)
        Log.objects.create(msg=msg, repository_id=row.repository_id, event_id=row.event_id, run_id=row.run_id, actor=self.actor())


class LogCollection(Logs, Collection):
    """`/log/`."""

    def record_created(self, row: Log, changes: list[str]) -> None:
        """A posted line is itself the history; the audit says who posted it."""
        AuditEntry.objects.record("change", row.repository_id or "", f"log entry {row.pk} added")


class LogRow(Logs, Row):
    """`/log/7/`."""
