"""`/builds/<id>/`: one event in the browser: its state, its attempts, its image and what it prints."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils.dateparse import parse_datetime

from accounts.pages import page
from ci_portal.config import BASE_DIR
from events.models import Event
from logs.models import Log, Output
from runners.models import Run

HISTORY = 200


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of a run's time."""

    name: str  # waiting, clone, build, push; running while the containers have not told theirs
    started: datetime
    finished: datetime | None


def phases(run: Run) -> list[Phase]:
    """The run's time in parts: from the request to its first container, then each container as it told."""
    found = []
    if run.managed and run.ctime and (run.started_at or run.is_active):
        found.append(Phase("waiting", run.ctime, run.started_at))
    for name, times in (run.phases or {}).items():
        started, finished = (parse_datetime(times.get(key) or "") for key in ("started", "finished"))
        if started:
            found.append(Phase(name, started, finished))
    if run.is_active and run.started_at and not run.phases:
        found.append(Phase("running", run.started_at, None))
    return found


def pull_commands(event: Event, run: Run | None) -> list[str]:
    """How to get the image: by its digest from the registry, or from the layout that a local build left on this machine's disk."""
    if run is None or not event.digest:
        return []
    if run.registory_add:
        return [f"{tool} pull {run.image}@{event.digest}" for tool in ("docker", "podman")]
    if run.backend == "local":
        layout = BASE_DIR / settings.PORTAL.build.folder / "images" / run.image / run.image_tag
        return [f"podman pull oci:{layout}:{run.image_tag}"]
    return []


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


def _output(run: Run | None) -> Output | None:
    """The run's output, if there is any yet: what the page tells of it, and not the archive's index."""
    return (
        Output.objects.filter(run=run).only("run_id", "size", "closed_at", "verdict", "verdict_detail", "removed_at").first()
        if run
        else None
    )


def _chosen(runs: list[Run], wanted: str) -> Run | None:
    """The run to show: the one asked for, else the newest. Raises Http404 where it is not one of the event's."""
    if not wanted:
        return runs[0] if runs else None
    for run in runs:
        if str(run.pk) == wanted:
            return run
    raise Http404


@page
def build(request: HttpRequest, pk: int) -> HttpResponse:
    """One event with all its attempts; the output of the newest, or of the one that `?run=` names."""
    event = get_object_or_404(Event.objects.select_related("repository"), pk=pk)
    runs = list(Run.objects.filter(event=event).order_by("-id"))
    run = _chosen(runs, request.GET.get("run", ""))
    image = (run.image if run else "") or event.image
    context = {
        "section": "builds",
        "event": event,
        "runs": [(each, phases(each)) for each in runs],
        "run": run,
        "newest": runs[0] if runs else None,
        "place": place_in_queue(runs[0] if runs else None),
        "newer": newer_check(event),
        "output": _output(run),
        "image": image,
        "pulls": pull_commands(event, run),
        "history": Log.objects.filter(event=event).order_by("-id")[:HISTORY],
    }
    return render(request, "runners/build.html", context)
