"""Where a run's time goes: its parts in their order, each with its state, and with how long it usually takes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from statistics import median
from typing import Any

from django.utils import timezone
from django.utils.dateparse import parse_datetime

from events.models import Event
from runners.backends.causes import Cause
from runners.models import Run

#: Successful builds of the repository that are looked back at for what is usual.
LOOK_BACK = 10
#: What takes less than this many seconds is left out, unless it is work of the build.
SHORT = 1.0
WORK = ("clone", "build", "push")
#: Causes of a failure that came after the last container had ended well.
UNCONFIRMED = (Cause.DIGEST_MISSING, Cause.DIGEST_UNCONFIRMED, Cause.COMMIT_MISMATCH, Cause.NO_DIGEST)


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a run's time. `state`: done, running, failed, stopped, coming (it has not begun), or missed (it never will)."""

    name: str  # waiting, scheduling, starting, clone, build, build_push, push, confirming
    state: str
    started: datetime | None = None
    finished: datetime | None = None
    usual: float | None = None  # seconds

    @property
    def seconds(self) -> float | None:
        """How long it took; None where it has not ended."""
        return (self.finished - self.started).total_seconds() if self.started and self.finished else None


@dataclass(frozen=True, slots=True)
class Usual:
    """How long successful builds of a repository took, in seconds: medians."""

    whole: float | None = None  # from the first container's start
    parts: dict[str, float] | None = None
    builds: int = 0


def usual(event: Event) -> Usual:
    """What the last successful builds before this one of the same repository took: two queries, however many there are."""
    if not event.repo:
        return Usual()
    before = Event.objects.filter(repo=event.repo, managed=True, status=Event.SUCCEEDED, pk__lt=event.pk).order_by("-pk")
    ids = list(before.values_list("pk", flat=True)[:LOOK_BACK])
    runs = Run.objects.filter(event_id__in=ids, status=Run.SUCCEEDED).order_by() if ids else Run.objects.none()
    whole, parts = [], defaultdict[str, list[float]](list)
    for row in runs.values("started_at", "finished_at", "phases", "builder", "registory_add"):
        if row["started_at"] and row["finished_at"]:
            whole.append((row["finished_at"] - row["started_at"]).total_seconds())
        for name, times in (row["phases"] or {}).items():
            started, finished = _times(times)
            if started and finished:
                parts[name].append((finished - started).total_seconds())
    return Usual(median(whole) if whole else None, {name: median(took) for name, took in parts.items()}, len(whole))


def parts_of(run: Run, usually: Usual | None = None) -> list[Part]:
    """The run's parts, also those that are still to come. Each begins no earlier than the one before it."""
    if not run.managed or run.ctime is None:
        return []
    known = (usually or Usual()).parts or {}
    found = [replace(part, usual=known.get(part.name.removesuffix("_push"))) for part in [*_before(run), *_work(run), *_after(run)]]
    return _in_order(found)


def failed_step(run: Run) -> str:
    """The container in which it failed, "" where that is not known: what to open in its output."""
    if run.status != Run.FAILED:
        return ""
    began = [name for name in WORK if (run.phases or {}).get(name, {}).get("started")]
    return ("build" if began[-1] == "push" and _pushes_itself(run) else began[-1]) if began else ""


def _pushes_itself(run: Run) -> bool:
    return run.builder == "buildkit"


def _end(run: Run) -> str:
    """The state of the part in which the run came to its end."""
    return "stopped" if run.status == Run.CANCELLED else "failed" if run.status == Run.FAILED else "done"


def _before(run: Run) -> Iterator[Part]:
    """What comes before the first container: waiting for its turn, for a node, for its containers to start."""
    steps: list[tuple[str, datetime | None]] = [("waiting", run.launched_at)]
    if run.backend == "kubernetes":
        steps += [("scheduling", run.placed_at)]
    steps += [("starting", run.started_at)]
    began = run.ctime
    for name, ended in steps:
        later = next((moment for _, moment in steps[steps.index((name, ended)) :] if moment), None)
        ended = ended or later  # one that nobody noted ended when the next did
        if began is None:
            yield Part(name, "coming" if run.is_active else "missed")
        elif ended:
            if (ended - began).total_seconds() >= SHORT:
                yield Part(name, "done", began, ended)
        elif run.is_active:
            yield Part(name, "running", began)
        else:
            yield Part(name, _end(run), began, run.finished_at)
        began = ended


def _work(run: Run) -> Iterator[Part]:
    """The containers, as they told."""
    phases: dict[str, Any] = run.phases or {}
    names = list(WORK if run.registory_add else WORK[:-1])
    if not run.is_active and _pushes_itself(run) and "push" not in phases and run.status == Run.SUCCEEDED:
        names = ["clone", "build_push"]
    last = max((names.index(name) for name in names if phases.get(name.removesuffix("_push"), {}).get("started")), default=-1)
    for number, name in enumerate(names):
        started, finished = _times(phases.get(name.removesuffix("_push"), {}))
        if started is None:
            missed = not run.is_active or number < last
            yield Part(name, "missed" if missed else "coming")
        elif number == last and not run.is_active and not (finished and run.cause in UNCONFIRMED):
            yield Part(name, _end(run), started, finished or run.finished_at)
        else:
            yield Part(name, "done" if finished else "running", started, finished)


def _after(run: Run) -> Iterator[Part]:
    """From the last container's end to the recorded outcome: the rest of the output is read, the registry is asked."""
    phases: dict[str, Any] = run.phases or {}
    ends = [_times(phases.get(name, {}))[1] for name in WORK if phases.get(name, {}).get("started")]
    expected = len(WORK if run.registory_add and not _pushes_itself(run) else WORK[:-1])
    if len(ends) < expected or not all(ends):
        return
    began = max(end for end in ends if end)
    if run.is_active:
        yield Part("confirming", "running", began)
        return
    long = run.finished_at is not None and (run.finished_at - began).total_seconds() >= SHORT
    if run.cause in UNCONFIRMED or (run.status == Run.SUCCEEDED and long):
        yield Part("confirming", _end(run), began, run.finished_at)


def _in_order(parts: list[Part]) -> list[Part]:
    """Whole seconds of the cluster stand beside the portal's own clock: no part begins before the one ahead of it ended."""
    found: list[Part] = []
    latest: datetime | None = None
    for part in parts:
        if part.started and latest and part.started < latest:
            part = replace(part, started=latest, finished=max(latest, part.finished) if part.finished else None)
        latest = part.finished or part.started or latest
        found.append(part)
    return found


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is, as earlier builds took."""

    started: datetime
    usual: float  # seconds
    builds: int  # that this is known from

    @property
    def left(self) -> float:
        """Seconds that are left; below 0, it takes longer than usual."""
        return self.usual - (timezone.now() - self.started).total_seconds()

    @property
    def share(self) -> float:
        """The part that is over, from 0 to just below 1: an estimate never says that it has ended."""
        return min(0.96, max(0.0, 1 - self.left / self.usual)) if self.usual else 0.96


def progress(run: Run | None, usually: Usual) -> Progress | None:
    """None where it does not run, or nothing is known of earlier builds."""
    if run is None or not run.is_active or run.started_at is None or usually.whole is None:
        return None
    return Progress(run.started_at, usually.whole, usually.builds)


def _times(told: dict[str, str]) -> tuple[datetime | None, datetime | None]:
    started, finished = (parse_datetime(told.get(key) or "") for key in ("started", "finished"))
    return started, finished
