"""The last builds of repositories: what became of them, how long they took, and so how long the next one may take."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from statistics import median
from typing import Any
from zlib import crc32

from django.db.models import OuterRef, Q, Subquery
from django.utils import timezone

from events.models import Event, EventQuerySet
from repos.models import Repository

#: Builds of a repository that are looked back at.
LOOK_BACK = 20


@dataclass(frozen=True, slots=True)
class Build:
    """An event as lists show it, with what its newest run tells."""

    event: Event
    started_at: datetime | None  # the run's first container ran
    cancelling: bool  # somebody asked for its end
    attempt: int
    expected: float | None = None  # seconds that it may take, for one that is not over

    @property
    def seconds(self) -> float | None:
        """How long it took, without the time that it waited where the portal ran it; None while it has not ended."""
        begun = self.started_at or self.event.ctime
        if self.event.finished_at is None or begun is None:
            return None
        return max(0.0, (self.event.finished_at - begun).total_seconds())

    @property
    def may_be_cancelled(self) -> bool:
        """Whether asking for its end would do anything."""
        return self.event.is_active and not self.cancelling

    @property
    def may_be_retried(self) -> bool:
        """Whether it ended without an image."""
        return self.event.managed and self.event.status in (Event.FAILED, Event.CANCELLED)

    @property
    def share(self) -> float:
        """The part of the expected time that is over, from 0 to just below 1: an estimate never says that it has ended."""
        if not self.expected or not self.started_at:
            return 0.0
        return min(0.96, max(0.0, (timezone.now() - self.started_at).total_seconds() / self.expected))

    @property
    def version(self) -> str:
        """Changes whenever what lists show of it does."""
        event = self.event
        shown = (event.status, event.reason, event.finished_at, event.repo, self.started_at, self.cancelling, self.attempt)
        return f"{crc32(repr(shown).encode()):08x}"


def with_newest_run(events: EventQuerySet) -> EventQuerySet:
    """Events with what lists need of their newest runs, at no query of their own."""
    runs = Event._meta.get_field("runs").related_model._default_manager
    newest = runs.filter(event=OuterRef("pk")).order_by("-id")
    columns = {name: Subquery(newest.values(name)[:1]) for name in ("started_at", "cancel_requested_at", "attempt")}
    return events.annotate(**{f"run_{name}": column for name, column in columns.items()})


def builds_of(events: Iterable[Any]) -> list[Build]:
    """The events of `with_newest_run`, those that are active with the time that they may take: two queries more, where any is."""
    rows = list(events)
    expected = {name: expected_seconds(past) for name, past in recent({row.repo for row in rows if row.is_active}).items()}
    return [_build(row, expected.get(row.repo) if row.is_active else None) for row in rows]


def _build(row: Any, expected: float | None = None) -> Build:
    return Build(row, row.run_started_at, row.is_active and row.run_cancel_requested_at is not None, row.run_attempt or 1, expected)


def recent(repo_names: Iterable[str], count: int = LOOK_BACK) -> dict[str, list[Build]]:
    """The last `count` events of each registered repository, newest first: two queries, however many repositories there are."""
    names = list(repo_names)
    if not names:
        return {}
    # Where each repository's last `count` begin: a step through its index entries, however many lie below.
    nth = Event.objects.filter(repo=OuterRef("repo_name")).order_by("-id").values("id")[count - 1 : count]
    begins = (
        Repository.objects.filter(repo_name__in=names).annotate(begin=Subquery(nth)).order_by().values_list("repo_name", "begin")
    )
    wanted = Q()
    found: dict[str, list[Build]] = {}
    for name, begin in begins:
        found[name] = []
        wanted |= Q(repo=name, id__gte=begin or 0)
    if not found:
        return {}
    for row in with_newest_run(Event.objects.filter(wanted)).order_by("-id"):
        found.get(row.repo, []).append(_build(row))  # a database that ignores case finds other spellings too
    return found


def expected_seconds(past: Iterable[Build]) -> float | None:
    """How long a build may take: the median of those that succeeded; None where none did."""
    took = [build.seconds for build in past if build.event.status == Event.SUCCEEDED and build.seconds is not None]
    return median(took) if took else None
