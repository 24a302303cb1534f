"""Compare the rows with what the backends hold, and put right what a crash, an outage or another tool has left.

Both ways: runs whose build is gone, and builds whose run is gone. What a watcher settles or the next launch adopts anyway is only
told; everything else is removed here. Each act may be repeated, and several processes may do it at once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from django.db import transaction
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy, override

from logs.models import Log
from logs.output import Recorder, StaleWriter
from runners.backend import BACKENDS, backend_named, configured_backend
from runners.backends.base import Backend, BackendError, Held, Unreachable
from runners.describe import build_spec
from runners.models import Installation, Run, RunQuerySet

logger = logging.getLogger(__name__)

#: What has just ended is settled and tidied by its watcher; only what is left so long after is a finding.
SETTLING = timedelta(seconds=60)
#: Runs to tidy that one pass looks at, and uids asked for in one query.
TIDIED_AT_ONCE, ASKED_AT_ONCE = 500, 500
#: A backend that did not answer so often in one pass is asked again in the next.
TRIES = 3


class Kind(StrEnum):
    """What can be found. The first four are put right here, the others end by themselves and are told."""

    WITHOUT_EVENT = "without_event"
    WITHOUT_RUN = "without_run"
    STILL_ACTIVE = "still_active"
    UNTIDIED = "untidied"
    VANISHED = "vanished"
    ENDED_UNSEEN = "ended_unseen"
    HALF_LAUNCHED = "half_launched"


WHAT: dict[Kind, Promise] = {
    Kind.WITHOUT_EVENT: gettext_lazy("Its event was deleted from the database, and the run is still active."),
    Kind.WITHOUT_RUN: gettext_lazy("A build for which there is no run."),
    Kind.STILL_ACTIVE: gettext_lazy("The run has ended, but its build has not."),
    Kind.UNTIDIED: gettext_lazy("The run has ended, but its Secret or folder may be left."),
    Kind.VANISHED: gettext_lazy("The run is active, but its build is gone."),
    Kind.ENDED_UNSEEN: gettext_lazy("The build has ended, but the run has no outcome yet."),
    Kind.HALF_LAUNCHED: gettext_lazy("A launch was begun and not finished."),
}
REMEDY: dict[Kind, Promise] = {
    Kind.WITHOUT_EVENT: gettext_lazy("The build is removed, the run ends as failed."),
    Kind.WITHOUT_RUN: gettext_lazy("The build is removed."),
    Kind.STILL_ACTIVE: gettext_lazy("The build is ended and removed."),
    Kind.UNTIDIED: gettext_lazy("What is left is removed."),
    Kind.VANISHED: gettext_lazy("The watcher ends the run as failed."),
    Kind.ENDED_UNSEEN: gettext_lazy("The watcher settles the run from what the build left."),
    Kind.HALF_LAUNCHED: gettext_lazy("The next launch of the run adopts it."),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One difference between the rows and a backend."""

    kind: Kind
    backend: str
    name: str  # of the run, or of the build that has none
    since: datetime | None  # what its age counts from, UTC
    run: Run | None = None
    held: Held | None = None
    done: bool = False  # it was put right, by this process or meanwhile by another
    problem: str = ""  # why it could not be

    @property
    def what(self) -> Promise:
        """What differs, one sentence in the reader's language."""
        return WHAT[self.kind]

    @property
    def remedy(self) -> Promise:
        """What becomes of it, one sentence in the reader's language."""
        return REMEDY[self.kind]

    @property
    def is_put_right(self) -> bool:
        """Whether `reconcile` acts on it; the others end by themselves."""
        return self.kind in _ACTS

    def __str__(self) -> str:
        with override("en"):
            return f"{self.backend} {self.name}: {self.what} {self.problem or self.remedy}"


def places() -> list[Backend]:
    """The configured backend, and every other one that still has runs to end or to tidy."""
    names = {configured_backend().name}
    for rows in (Run.objects.active(), Run.objects.to_tidy()):
        names |= set(rows.order_by().filter(backend__in=BACKENDS).values_list("backend", flat=True).distinct())
    return [backend_named(name) for name in sorted(names)]


def find(backend: Backend) -> list[Finding]:
    """Compare one backend with the rows, changing neither. Raises Unreachable or Refused.

    The backend is asked before the rows are read: a run is committed before its build is made, so a build without a row then has
    none any more. The other way round, a run counts as launched only if it was before the backend was asked.
    """
    here = Run.objects.filter(backend=backend.name).here([backend.place])
    launched = set(here.on_backend().filter(launched_at__isnull=False).values_list("pk", flat=True))
    builds = {held.run_uid: held for held in backend.inventory()}
    mine, now = Installation.identity(), timezone.now()
    known: set[str] = set()
    found: list[Finding] = []
    for run in _runs(here, builds):
        held = builds.get(run.uid or "")
        known.add(run.uid or "")
        vanished = held is None and run.pk in launched
        kind = _of_active(run, held, vanished, now) if run.is_active else _of_ended(run, held, mine, now)
        if kind is None and held and held.installation == mine and _came_late(run, held) and backend.has_left(build_spec(run)):
            kind = Kind.UNTIDIED
        if kind:
            found.append(Finding(kind, backend.name, run.name, _since(kind, run, held), run, held))
    for uid, held in builds.items():
        if uid not in known and held.installation == mine and not held.going:
            found.append(Finding(Kind.WITHOUT_RUN, backend.name, held.name, held.created_at, held=held))
    order = list(Kind)
    return sorted(found, key=lambda each: (order.index(each.kind), each.name))


def _runs(here: RunQuerySet, uids: Iterable[str]) -> Iterator[Run]:
    """Runs of these uids, and all others `here` that are active or to be tidied; each once, with its event."""
    rows, seen = Run.objects.select_related("event").order_by("pk"), set()
    wanted = list(uids)
    asked = [rows.filter(uid__in=wanted[n : n + ASKED_AT_ONCE]) for n in range(0, len(wanted), ASKED_AT_ONCE)]
    here = here.select_related("event").order_by("pk")
    asked += [here.active(), here.to_tidy()[:TIDIED_AT_ONCE]]
    for query in asked:
        for run in query:
            if run.pk not in seen:
                seen.add(run.pk)
                yield run


def _of_active(run: Run, held: Held | None, vanished: bool, now: datetime) -> Kind | None:
    if run.event is None:
        return Kind.WITHOUT_EVENT
    if vanished:
        return Kind.VANISHED
    if held is None or held.going:
        return None
    if run.launched_at is None:
        begun = run.status == Run.LAUNCHING and run.claimed_until is not None and run.claimed_until >= now
        return None if begun else Kind.HALF_LAUNCHED
    return Kind.ENDED_UNSEEN if held.finished_at and held.finished_at < now - SETTLING else None


def _of_ended(run: Run, held: Held | None, mine: str, now: datetime) -> Kind | None:
    if run.finished_at is None or run.finished_at > now - SETTLING:
        return None
    if held and held.installation == mine and not held.finished and not held.going:
        return Kind.STILL_ACTIVE
    return Kind.UNTIDIED if run.epoch and run.tidied_at is None else None


def _came_late(run: Run, held: Held) -> bool:
    """Whether a launch may have given the build its Secret once more after the run was tidied up.

    Only one that another took over, while its process stood still: then the epoch counts two launches and who followed the run.
    """
    return run.tidied_at is not None and run.epoch > 2 and held.finished and not held.going


def _since(kind: Kind, run: Run, held: Held | None) -> datetime | None:
    """When it came to be as it is."""
    if kind == Kind.VANISHED:
        return run.launched_at
    if kind == Kind.WITHOUT_EVENT:
        return run.ctime
    if run.is_active and held:
        return held.finished_at or held.created_at
    return run.finished_at


def reconcile(backend: Backend, actor: str = "", go_on: Callable[[], bool] = lambda: True) -> list[Finding]:
    """Put right what `find` finds, with a line of history each; returns it with what became of it.

    What goes wrong with one is told in its finding and stops no other, unless the backend does not answer several times. `go_on` is
    asked before each act. Raises Unreachable or Refused where the backend can't even be looked at.
    """
    found = find(backend)
    unanswered = 0
    for number, finding in enumerate(found):
        if not finding.is_put_right or unanswered >= TRIES or not go_on():
            continue
        try:
            _ACTS[finding.kind](finding, backend, actor)
            found[number] = replace(finding, done=True)
        except BackendError as error:
            unanswered += isinstance(error, Unreachable)
            found[number] = replace(finding, problem=str(error))
        except StaleWriter:
            found[number] = replace(finding, problem="A watcher still stores its output; the next pass tries again.")
        logger.info("reconciling: %s", found[number])
    return found


def _remove_build(finding: Finding, backend: Backend, actor: str) -> None:
    """Remove a build without a run."""
    assert finding.held is not None
    if backend.remove(finding.held):
        msg = f"build {finding.name} was removed from the {backend.name} backend: there is no run for it"
        Log.objects.record(msg, repo_name=finding.held.repo_name[:150], actor=actor)


def _end_build(finding: Finding, backend: Backend, actor: str) -> None:
    """Remove the build of a run that has its outcome, with its secrets."""
    assert finding.held is not None
    assert finding.run is not None
    removed = backend.remove(finding.held)
    backend.settled(build_spec(finding.run))
    finding.run.tidied()
    if removed:
        _record(finding.run, f"run {finding.name} has ended; its build, which had not, was removed", actor)


def _tidy(finding: Finding, backend: Backend, actor: str) -> None:
    """Remove what may be left of a run that has its outcome."""
    assert finding.run is not None
    backend.settled(build_spec(finding.run))
    if finding.run.tidied():
        _record(finding.run, f"what was left of run {finding.name} on the {backend.name} backend was removed", actor)


def _end_without_event(finding: Finding, backend: Backend, actor: str) -> None:
    """Remove the build of a run whose event is gone, then end the run and its output."""
    assert finding.run is not None
    run, spec = finding.run, build_spec(finding.run)
    backend.delete(spec)
    with transaction.atomic():
        if run.end_without_event(actor):
            Recorder(run.pk, backend.containers(spec), []).close(Run.FAILED)
    backend.settled(spec)
    run.tidied()


_ACTS: dict[Kind, Callable[[Finding, Backend, str], None]] = {
    Kind.WITHOUT_EVENT: _end_without_event,
    Kind.WITHOUT_RUN: _remove_build,
    Kind.STILL_ACTIVE: _end_build,
    Kind.UNTIDIED: _tidy,
}


def _record(run: Run, msg: str, actor: str) -> None:
    Log.objects.record(msg, repo_name=run.event.repo if run.event else "", event=run.event, run=run, actor=actor)
