"""What ended builds leave where they ran and retention removes: their Jobs in the cluster, their images on this machine's disk."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

from django.conf import settings
from django.db.models import Max
from django.utils import timezone

from ci_portal.config import BASE_DIR, Config
from events.models import Event
from logs.retention import BATCH, Expired, GoOn, beyond, older_than
from runners.backend import backend_named
from runners.backends import local_prune
from runners.backends.base import BackendError, Held, Unreachable
from runners.backends.local_steps import layout_of
from runners.describe import build_spec
from runners.models import Installation, Run

logger = logging.getLogger(__name__)

#: A Job may outlive its time to live so long, where the cluster is slow to remove it.
SLOW = timedelta(hours=1)


def expired_jobs(config: Config, now: datetime) -> Iterator[list[Expired]]:
    """Ended Jobs of this portal that are not among the newest `retention.job_count` of their repository; 0: none.

    Only of runs with an outcome of which nothing else is left to do. What has no run is for `reconcile`.
    """
    newest = config.retention.job_count
    if not newest or config.build.backend != "kubernetes":
        return
    try:
        held = backend_named("kubernetes").inventory()
    except BackendError as error:
        logger.warning("%s; ended Jobs are looked for again later", error)
        return
    ended, mine = defaultdict[str, list[Held]](list), Installation.identity()
    for job in held:
        if job.finished and not job.going and job.installation == mine:
            ended[job.repo_name].append(job)
    for repository, jobs in sorted(ended.items()):
        jobs.sort(key=lambda job: (job.created_at or now, job.name), reverse=True)
        more = jobs[newest:]
        for start in range(0, len(more), BATCH):
            yield _settled(more[start : start + BATCH], repository, beyond(newest))


def _settled(jobs: list[Held], repository: str, why: str) -> list[Expired]:
    runs = Run.objects.filter(uid__in=[job.run_uid for job in jobs], status__in=Run.FINAL, tidied_at__isnull=False)
    events = dict(runs.values_list("uid", "event_id"))
    return [
        Expired("jobs", job, repository, why, job.finished_at, name=job.name, event_id=events[job.run_uid])
        for job in jobs
        if job.run_uid in events
    ]


def remove_jobs(batch: list[Expired], go_on: GoOn) -> list[Expired]:
    """Remove these Jobs; returns those that were there. What the cluster won't remove now is logged and found again."""
    gone = []
    try:
        for item in batch:
            if go_on() and backend_named("kubernetes").remove(item.key):
                gone.append(item)
    except BackendError as error:
        logger.warning("%s; ended Jobs are removed later", error)
    return gone


def remove_builds_of(event_ids: list[int], go_on: GoOn) -> set[int]:
    """Remove what a cluster still holds of these events' ended runs, before their rows go; returns the events where it can't be."""
    left = timezone.now() - timedelta(seconds=settings.PORTAL.kubernetes.ttl_seconds) - SLOW
    recent = Run.objects.filter(event_id__in=event_ids, backend="kubernetes", launched_at__isnull=False, finished_at__gt=left)
    stuck, away = set[int](), False
    for run in recent.select_related("event__repository"):
        assert run.event_id is not None  # it was found by it
        try:
            if not away and go_on():
                backend_named(run.backend).delete(build_spec(run))
                continue
        except BackendError as error:
            logger.warning("run %s: %s; its event is removed later", run.name, error)
            away = isinstance(error, Unreachable)  # then the others are not asked for, each with a time-out of its own
        stuck.add(run.event_id)
    return stuck


# Images on disk


def expired_images(config: Config, now: datetime) -> Iterator[list[Expired]]:
    """Images that local builds without a registry left on this machine's disk, beyond what `retention` keeps of each name; 0: all.

    Never the newest of a name, nor the last success of a registered repository, nor one that is being built.
    """
    kept, folder = config.retention, (BASE_DIR / config.build.folder / "images").absolute()
    found = local_prune.expired(folder, kept.image_days, kept.image_count, now)
    if not found:
        return
    why = {"too old": older_than(kept.image_days), "too many": beyond(kept.image_count), "broken": "that are not whole"}
    needed = _needed(folder)
    items = [
        Expired(
            "images",
            image,
            str(image.path.parent.relative_to(folder)),
            why[image.why],
            image.written_at,
            image.bytes,
            image.path.name,
        )
        for image in found
        if image.path not in needed
    ]
    for start in range(0, len(items), BATCH):
        yield items[start : start + BATCH]


def _needed(folder: Path) -> set[Path]:
    on_disk = Run.objects.filter(backend="local", registory_add="")
    succeeded = Event.objects.ended().filter(status=Event.SUCCEEDED).order_by()
    last = succeeded.values("repo").annotate(last=Max("pk")).values_list("last", flat=True)
    of_repositories = on_disk.filter(event_id__in=list(last), event__repository__isnull=False, status=Run.SUCCEEDED)
    needed = set()
    for run in [*of_repositories, *on_disk.active()]:
        try:
            needed.add(layout_of(folder, run.image, run.image_tag))
        except ValueError:
            continue  # no image can have that name
    return needed


def remove_images(batch: list[Expired], go_on: GoOn) -> list[Expired]:
    """Remove these images; returns those that are gone. What can't be removed is logged and found again."""
    gone = []
    for item in batch:
        try:
            if go_on() and local_prune.remove(item.key):
                gone.append(item)
        except OSError as error:
            logger.warning("the image %s can't be removed: %s; it is tried again later", item.key.path, error)
    return gone
