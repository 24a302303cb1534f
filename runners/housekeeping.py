"""Removes what retention no longer keeps: batch after batch, each a short transaction of its own, never of what is active.

Whatever is broken off, by a signal or by a crash, the next prune finishes; two at once do no harm.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Q, Sum

from accounts.models import AuditEntry, BrowserSession
from ci_portal.api.retry import in_transaction
from ci_portal.config import Config
from events.models import Event, EventQuerySet, IdempotencyKey
from events.retention import expired_events, expired_keys, expired_records
from logs.archive import mark_removed
from logs.models import Log, Output
from logs.retention import (
    Expired,
    GoOn,
    Lines,
    Told,
    batches,
    clear_quietly,
    expired_history,
    expired_output,
    older_than,
    remove_output,
    remove_rows,
)
from runners.ended_builds import expired_images, expired_jobs, remove_builds_of, remove_images, remove_jobs
from runners.models import Run

#: The longest rest after a batch, seconds. A prune rests as long as it worked: SQLite's write lock is not fair.
LONGEST_REST = 1.0

#: Lines of history about what is not finished.
_ACTIVE = Q(event__managed=True, event__status__in=Event.ACTIVE)


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of what is removed: how it is found, batch by batch, and how a batch goes."""

    name: str
    expired: Callable[[Config, datetime], Iterator[list[Expired]]]
    remove: Callable[[list[Expired], Told, GoOn], list[Expired]]


def prune(now: datetime, *, only: Collection[str] = (), dry_run: bool = False, go_on: GoOn = lambda: True) -> Iterator[Expired]:
    """Remove what the configuration no longer keeps, and yield each thing that is gone; with `dry_run`, that would go.

    `only` names the kinds to look at. It ends soon once `go_on` says no.
    """
    told, events = Told(), set[int]()
    for kind in KINDS:
        if only and kind.name not in only:
            continue
        for batch in kind.expired(settings.PORTAL, now):
            if not go_on():
                return
            if dry_run:
                # What goes with an event is told of there.
                yield from (item for item in batch if kind.name == "events" or item.event_id not in events)
                events.update(item.key for item in batch if kind.name == "events")
                continue
            began = time.monotonic()
            yield from kind.remove(batch, told, go_on)
            time.sleep(min(time.monotonic() - began, LONGEST_REST))


@dataclass(slots=True)
class Tally:
    """What of one kind and repository goes for one reason."""

    kind: str
    repository: str
    why: str
    count: int = 0
    size: int = 0  # bytes
    oldest: datetime | None = None
    newest: datetime | None = None

    def __str__(self) -> str:
        times = " to ".join(f"{time:%Y-%m-%d %H:%M}" for time in dict.fromkeys((self.oldest, self.newest)) if time)
        parts = [f"{self.count} {self.why}", f"{times} UTC" if times else "", f"{self.size} bytes" if self.size else ""]
        return f"{self.kind}{f' of {self.repository}' if self.repository else ''}: {', '.join(part for part in parts if part)}"


def tallied(items: Iterable[Expired]) -> list[Tally]:
    """Count them, by kind, repository and reason."""
    found: dict[tuple[str, str, str], Tally] = {}
    for item in items:
        tally = found.setdefault((item.kind, item.repository, item.why), Tally(item.kind, item.repository, item.why))
        tally.count += 1
        tally.size += item.size
        if item.at:
            tally.oldest = min(tally.oldest or item.at, item.at)
            tally.newest = max(tally.newest or item.at, item.at)
    return list(found.values())


# Events with their runs and output, and records from elsewhere


def _expired_events(config: Config, now: datetime) -> Iterator[list[Expired]]:
    for batch in expired_events(config.retention.event_days, config.retention.event_count, now):
        yield _with_output(batch)


def _expired_records(config: Config, now: datetime) -> Iterator[list[Expired]]:
    for batch in expired_records(config.retention.record_days, now):
        yield _with_output(batch)


def _with_output(batch: list[Expired]) -> list[Expired]:
    """Those of which a backend holds nothing any more, with the bytes of their output."""
    of_batch = Run.objects.filter(event_id__in=[item.key for item in batch]).order_by()
    busy = set((of_batch & (Run.objects.active() | Run.objects.to_tidy())).values_list("event_id", flat=True))
    kept = Output.objects.kept().filter(run__in=of_batch).order_by()
    sizes = dict(kept.values_list("run__event_id").annotate(bytes=Sum("size")))
    return [replace(item, size=sizes.get(item.key, 0)) for item in batch if item.key not in busy]


def _remove_events(batch: list[Expired], told: Told, go_on: GoOn) -> list[Expired]:
    return _remove_with_output(Event.objects.ended(), batch, told, go_on, "event", "events")


def _remove_records(batch: list[Expired], told: Told, go_on: GoOn) -> list[Expired]:
    return _remove_with_output(Event.objects.records(), batch, told, go_on, "record", "records")


def _remove_with_output(rows: EventQuerySet, batch: list[Expired], told: Told, go_on: GoOn, one: str, many: str) -> list[Expired]:
    """Remove the output's bytes first, said before they go; then events, runs and all that belongs to them at one stroke."""
    outputs = in_transaction(lambda: _mark_output(rows, [item.key for item in batch]))
    stuck = {output.run.event_id for output in outputs if not clear_quietly(output, go_on)}
    stuck |= remove_builds_of([item.key for item in batch], go_on)

    def delete() -> tuple[list[Expired], Lines]:
        gone = remove_rows(rows, [item for item in batch if item.key not in stuck])
        return gone, told.tell(gone, one, many)

    gone, lines = in_transaction(delete)
    told.lines |= lines
    return gone


def _mark_output(rows: EventQuerySet, keys: list[int]) -> list[Output]:
    """Mark as removed what these events' runs have printed, where they are still among `rows`; returns what is to be cleared."""
    still = list(rows.select_for_update().filter(pk__in=keys).values_list("pk", flat=True))
    outputs = Output.objects.filter(run__event_id__in=still).select_related("run").defer("frames")
    left = list(outputs.filter(Q(removed_at__isnull=True, size__gt=0) | Q(archive__gt="")))
    for output in left:
        mark_removed(output)
    return left


def _expired_recorded_runs(config: Config, now: datetime) -> Iterator[list[Expired]]:
    days = config.retention.record_days
    if not days:
        return
    runs = Run.objects.records().filter(ctime__lt=now - timedelta(days=days))
    for batch in batches(runs.values("pk", "name", "ctime"), "ctime"):
        yield [Expired("records", row["pk"], "", older_than(days), row["ctime"], name=row["name"] or "") for row in batch]


def _remove_recorded_runs(batch: list[Expired], told: Told, go_on: GoOn) -> list[Expired]:
    def delete() -> tuple[list[Expired], Lines]:
        gone = remove_rows(Run.objects.records(), batch)
        return gone, told.tell(gone, "recorded run", "recorded runs")

    gone, lines = in_transaction(delete)
    told.lines |= lines
    return gone


# Output whose event stays


def _expired_output(config: Config, now: datetime) -> Iterator[list[Expired]]:
    return expired_output(config.output.retention_days, config.output.retention_count, now)


# History, and answers to idempotent requests. They leave no line of history: it would be one an hour, for ever.


def _expired_history(config: Config, now: datetime) -> Iterator[list[Expired]]:
    return expired_history(config.retention.log_days, now, _ACTIVE)


def _remove_history(batch: list[Expired], told: Told, go_on: GoOn) -> list[Expired]:
    return in_transaction(lambda: remove_rows(Log.objects.all(), batch))


def _expired_keys(config: Config, now: datetime) -> Iterator[list[Expired]]:
    return expired_keys(now)


def _remove_keys(batch: list[Expired], told: Told, go_on: GoOn) -> list[Expired]:
    return in_transaction(lambda: remove_rows(IdempotencyKey.objects.all(), batch))


# The audit, and sessions that have expired


def _expired_audit(config: Config, now: datetime) -> Iterator[list[Expired]]:
    days = config.retention.audit_days
    entries = AuditEntry.objects.filter(at__lt=now - timedelta(days=days)).order_by()
    for batch in batches(entries.values("pk", "at"), "at") if days else ():
        yield [Expired("audit", row["pk"], "", older_than(days), row["at"], name=f"entry {row['pk']}") for row in batch]


def _remove_audit(batch: list[Expired], told: Told, go_on: GoOn) -> list[Expired]:
    return in_transaction(lambda: remove_rows(AuditEntry.objects.all(), batch))


def _expired_sessions(config: Config, now: datetime) -> Iterator[list[Expired]]:
    ended = BrowserSession.objects.filter(expire_date__lt=now).values("pk", "expire_date")
    for batch in batches(ended, "expire_date"):
        yield [Expired("sessions", row["pk"], "", "expired", row["expire_date"], name="a session") for row in batch]


def _remove_sessions(batch: list[Expired], told: Told, go_on: GoOn) -> list[Expired]:
    return in_transaction(lambda: remove_rows(BrowserSession.objects.all(), batch))


# Where builds ran


def _remove_jobs(batch: list[Expired], told: Told, go_on: GoOn) -> list[Expired]:
    return remove_jobs(batch, go_on)


def _remove_images(batch: list[Expired], told: Told, go_on: GoOn) -> list[Expired]:
    return remove_images(batch, go_on)


#: In this order: what goes with an event is not looked for again.
KINDS = (
    Kind("events", _expired_events, _remove_events),
    Kind("records", _expired_records, _remove_records),
    Kind("records", _expired_recorded_runs, _remove_recorded_runs),
    Kind("output", _expired_output, remove_output),
    Kind("history", _expired_history, _remove_history),
    Kind("audit", _expired_audit, _remove_audit),
    Kind("sessions", _expired_sessions, _remove_sessions),
    Kind("keys", _expired_keys, _remove_keys),
    Kind("jobs", expired_jobs, _remove_jobs),
    Kind("images", expired_images, _remove_images),
)
