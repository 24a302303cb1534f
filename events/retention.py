"""How long events are kept that have ended, records from elsewhere, and the answers to idempotent requests."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count

from events.models import Event, IdempotencyKey
from logs.retention import Expired, batches, beyond, older_than

#: A repeated request is recognised for at least so long (docs/api.md).
KEY_AGE = timedelta(hours=24)
#: However many newer ones there are, an event stays so long after its end: somebody may be waiting for its outcome.
LEAST_AGE = timedelta(hours=1)

_COLUMNS = ("pk", "name", "repo", "repository_id", "finished_at")


def expired_events(days: int, newest: int, now: datetime) -> Iterator[list[Expired]]:
    """Events to remove: ended more than `days` ago, or not among the `newest` of their repository that ended; 0 is no limit.

    Never the last event of a registered repository, nor its last that succeeded: that is where its image is found.
    """
    ended, old, last = Event.objects.ended(), now - timedelta(days=days), _Last()
    if days:
        aged = ended.filter(finished_at__lt=old)
        for batch in batches(aged.values(*_COLUMNS), "finished_at"):
            yield last.without(batch, older_than(days))
    if not newest:
        return
    crowded = ended.order_by().values_list("repo").annotate(events=Count("pk")).filter(events__gt=newest)
    for name in list(crowded.values_list("repo", flat=True)):
        of_repository = ended.filter(repo=name)
        last_kept = of_repository.order_by("-pk").values_list("pk", flat=True)[newest - 1 : newest].first()
        more = of_repository.filter(pk__lt=last_kept or 0, finished_at__lt=now - LEAST_AGE)
        for batch in batches((more.filter(finished_at__gte=old) if days else more).values(*_COLUMNS)):
            yield last.without(batch, beyond(newest))


class _Last:
    """The events that stay as their repository's last ones; asked for once a repository."""

    def __init__(self) -> None:
        self._known: dict[str, set[int]] = {}

    def without(self, batch: list[dict[str, Any]], why: str) -> list[Expired]:
        return [
            Expired("events", row["pk"], row["repo"] or "", why, row["finished_at"], name=row["name"] or "", event_id=row["pk"])
            for row in batch
            if row["repository_id"] is None or row["pk"] not in self._of(row["repo"])
        ]

    def _of(self, name: str) -> set[int]:
        if name not in self._known:
            ended = Event.objects.ended().filter(repo=name).order_by("-pk").values_list("pk", flat=True)
            self._known[name] = {pk for pk in (ended.first(), ended.filter(status=Event.SUCCEEDED).first()) if pk}
        return self._known[name]


def expired_records(days: int, now: datetime) -> Iterator[list[Expired]]:
    """Events from elsewhere that were recorded more than `days` ago; 0: none."""
    if not days:
        return
    rows = Event.objects.records().filter(ctime__lt=now - timedelta(days=days))
    for batch in batches(rows.values("pk", "name", "repo", "repository_id", "ctime"), "ctime"):
        yield [
            Expired(
                "records",
                row["pk"],
                row["repo"] if row["repository_id"] else "",
                older_than(days),
                row["ctime"],
                name=row["name"] or "",
            )
            for row in batch
        ]


def expired_keys(now: datetime) -> Iterator[list[Expired]]:
    """Idempotency keys that need not be recognised any more."""
    rows = IdempotencyKey.objects.filter(created_at__lt=now - KEY_AGE)
    for batch in batches(rows.values("pk", "created_at")):
        yield [
            Expired("keys", row["pk"], "", older_than(KEY_AGE.days), row["created_at"], name=f"key {row['pk']}") for row in batch
        ]
