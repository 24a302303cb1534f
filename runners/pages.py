"""`/builds/<id>/`: one event in the browser: its state, its attempts, its image and what it prints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from zlib import crc32

import yaml
from django.conf import settings
from django.db.models import Max, Model
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.http import content_disposition_header

from accounts.pages import page
from accounts.roles import level_of
from ci_portal.api.live import render_live
from events.models import Event
from logs.models import Log, Output
from runners.backend import backend_named
from runners.describe import build_spec
from runners.images import Availability, availability, pull_commands
from runners.models import Notices, Run
from runners.remedies import Remedy, remedy_of, setting_link
from runners.timeline import Usual, failed_step, parts_of, progress, usual

HISTORY = 200
#: Attempts that the page lists; `?attempt=` finds the others too.
ATTEMPTS = 100


@dataclass(frozen=True, slots=True)
class Attempt:
    """One run in the list of attempts."""

    run: Run
    output: Output | None

    @property
    def version(self) -> str:
        """Changes whenever what the list shows of it does."""
        run, output = self.run, self.output
        shown = (run.status, run.reason, run.finished_at, output and (output.size, output.removed_at))
        return f"{crc32(repr(shown).encode()):08x}"


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a run waits or did not end well, and what to do about it."""

    remedy: Remedy | None
    link: str
    by_event: Event | None = None  # that superseded it

    @classmethod
    def of(cls, run: Run | None) -> Trouble | None:
        """None where nothing is wrong."""
        if run is None or not (run.reason or run.cause):
            return None
        remedy = remedy_of(run)
        return cls(remedy, setting_link(run, remedy) if remedy else "", _superseded_by(run))


def _superseded_by(run: Run) -> Event | None:
    if run.cause != "superseded":
        return None
    name = run.reason.removeprefix("Superseded by event ").removesuffix(".")
    return Event.objects.filter(repo=run.event.repo if run.event else "", name=name).only("pk", "name").first()


def place_in_queue(run: Run | None) -> tuple[int, int] | None:
    """The run's place among those that wait, counted from 1, and how many they are; None where it does not wait."""
    if run is None or not run.managed or run.status != Run.WAITING or run.cancel_requested_at:
        return None
    keys = list(Run.objects.filter(backend=run.backend).in_fair_order().values_list("pk", flat=True))
    return (keys.index(run.pk) + 1, len(keys)) if run.pk in keys else None


def newer_check(event: Event) -> dict[str, str]:
    """What a new check of the same branch or tag says besides the repository."""
    kinds = {"refs/heads/": "branch", "refs/tags/": "tag"}
    return {kind: event.ref.removeprefix(prefix) for prefix, kind in kinds.items() if event.ref.startswith(prefix)}


def _newer(event: Event) -> dict[str, Event | None]:
    """Later builds of this repository into the same image: the newest of all, and the newest that has succeeded."""
    if not event.repo:
        return {}
    later = Event.objects.filter(repo=event.repo, image=event.image, pk__gt=event.pk).order_by("-pk")
    newest = later.only("pk", "status", "image_tag", "managed").first()
    if newest is None or newest.status == Event.SUCCEEDED:
        return {"newest": newest, "image": newest}
    return {"newest": newest, "image": later.filter(status=Event.SUCCEEDED).only("pk", "image_tag").first()}


def _chosen(runs: list[Run], request: HttpRequest) -> Run | None:
    """The run that `?attempt=` names (or `?run=`, by its id), else the newest. Raises Http404 where there is no such one."""
    for name, attribute in (("attempt", "attempt"), ("run", "pk")):
        if wanted := request.GET.get(name, ""):
            found = next((run for run in runs if str(getattr(run, attribute)) == wanted), None)
            if found is None:
                raise Http404
            return found
    return runs[0] if runs else None


def _find(pk: int) -> tuple[Event | None, list[Run]]:
    """The event with its runs, the newest first; None where there is none."""
    event = Event.objects.select_related("repository").filter(pk=pk).first()
    if event is None:
        return None, []
    runs = list(Run.objects.filter(event=event).order_by("-id"))
    for run in runs:
        run.event = event
    return event, runs


def _outputs(runs: list[Run]) -> dict[int, Output]:
    """What is told of the runs' outputs, and not the archive's index: one query."""
    columns = ("run_id", "size", "closed_at", "verdict", "verdict_detail", "removed_at")
    return {output.run_id: output for output in Output.objects.filter(run__in=runs[:ATTEMPTS]).only(*columns)}


def _of_run(run: Run | None, outputs: dict[int, Output], usually: Usual) -> dict[str, Any]:
    """What the page tells of the attempt that it shows."""
    if run is None:
        return {"output": None, "notices": []}
    told = Notices.objects.filter(run=run).values_list("items", flat=True).first() if run.backend == "kubernetes" else None
    return {
        "output": outputs.get(run.pk),
        "parts": parts_of(run, usually),
        "progress": progress(run, usually),
        "failed_step": failed_step(run),
        "trouble": Trouble.of(run),
        "notices": told or [],
    }


def _retried_by(run: Run | None, history: list[Log]) -> str:
    """Who asked for this attempt, as `runners.again` tells it in the history."""
    return next((line.actor for line in history if run and line.run_id == run.pk and str(line).endswith("is built again")), "")


#: Of a run, what only its watcher needs: it changes every few seconds.
UNSEEN = ("claimed_by", "claimed_until", "epoch", "tidied_at")


def _told(row: Model | None) -> dict[str, Any]:
    """What was loaded of a row and is shown."""
    return {name: value for name, value in vars(row).items() if name not in UNSEEN and not name.startswith("_")} if row else {}


def _seen(request: HttpRequest, context: dict[str, Any]) -> Any:
    """What the page shows, but for times that go on by themselves."""
    rows = [context["event"], *(attempt.run for attempt in context["runs"]), *(attempt.output for attempt in context["runs"])]
    rows += [*context["newer"].values(), *context["history"][:1]]
    plain = [context.get(name) for name in ("place", "notices", "available", "usually", "retried_by")]
    return level_of(request), request.GET.urlencode(), [_told(row) for row in rows], plain, len(context["history"])


def gone(request: HttpRequest, pk: int, attempt: str = "") -> HttpResponse:
    """The page of a build that is not there: a number that was given once was removed, one that was not is a mistake."""
    last = Event.objects.aggregate(last=Max("pk"))["last"] or 0
    context = {"section": "builds", "number": pk, "was_there": pk <= last, "attempt": attempt[:20]}
    return render(request, "runners/gone.html", context, status=404)


@page
def build(request: HttpRequest, pk: int) -> HttpResponse:
    """One event with all its attempts; the output of the newest, or of the one that `?attempt=` names."""
    event, runs = _find(pk)
    if event is None:
        return gone(request, pk)
    try:
        run = _chosen(runs, request)
    except Http404:
        return gone(request, pk, request.GET.get("attempt") or request.GET.get("run") or "")
    usually, outputs = usual(event) if event.managed else Usual(), _outputs(runs)
    newest = runs[0] if runs else None
    history = list(Log.objects.filter(event=event).order_by("-id")[:HISTORY])
    shown = availability(event, run) if event.digest else Availability.THERE
    context = {
        "section": "builds",
        "event": event,
        "runs": [Attempt(each, outputs.get(each.pk)) for each in runs[:ATTEMPTS]],
        "run": run,
        "newest": newest,
        "chosen": "attempt" in request.GET or "run" in request.GET,
        "usually": usually,
        "place": place_in_queue(newest),
        "latest": newer_check(event),
        "newer": _newer(event),
        "image": (run.image if run else "") or event.image,
        "available": shown,
        "pulls": pull_commands(event, run) if shown == Availability.THERE else [],
        "time_limit": settings.PORTAL.build.timeout_seconds,
        "history": history,
        "retried_by": _retried_by(run, history),
        **_of_run(run, outputs, usually),
    }
    return render_live(request, "runners/build.html", "runners/_live.html", context, _seen(request, context))


@page
def manifest(request: HttpRequest, pk: int) -> HttpResponse:
    """What an attempt's backend was asked to run, as YAML, secrets as references."""
    event, runs = _find(pk)
    run = _chosen(runs, request) if event else None
    if run is None or not run.managed:
        raise Http404
    documents = backend_named(run.backend).manifest(build_spec(run))
    text = yaml.safe_dump_all(documents, sort_keys=False, allow_unicode=True, width=120)
    answer = HttpResponse(text, "text/plain; charset=utf-8")
    answer["X-Content-Type-Options"] = "nosniff"
    answer["Content-Disposition"] = content_disposition_header("download" in request.GET, f"{run.name}.yaml") or "inline"
    return answer
