"""How long finished output is kept: by age, and by how many of each repository (SPEC section 5)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from django.db import models
from django.db.models import Q

from logs.archive import ArchiveError, clear
from logs.models import Output

logger = logging.getLogger(__name__)

#: Outputs that are looked up and removed at a time.
BATCH = 200


def expired(days: int, newest: int, now: datetime) -> Iterator[Output]:
    """Yield the outputs to remove: closed more than `days` ago, or not among the `newest` of their repository; 0 is no limit.

    What still runs is never among them. A file that an earlier removal left behind is.
    """
    left_behind = Q(removed_at__isnull=False) & ~Q(archive="")
    too_old = Q(closed_at__lt=now - timedelta(days=days), removed_at__isnull=True, size__gt=0) if days else Q(pk__in=())
    yield from _batches(Output.objects.filter(left_behind | too_old))
    if not newest:
        return
    names = Output.objects.kept().order_by().values_list("run__event__repo", flat=True).distinct()
    for name in list(names):
        of_repository = Output.objects.kept().filter(run__event__repo=name)
        last_kept = of_repository.order_by("-run_id").values_list("run_id", flat=True)[newest - 1 : newest].first()
        if last_kept is not None:
            yield from _batches(of_repository.filter(run_id__lt=last_kept))


def _batches(outputs: models.QuerySet[Output]) -> Iterator[Output]:
    """Each of them, by key, a batch at a time: no cursor stays open while rows are written."""
    last = 0
    while batch := list(outputs.filter(pk__gt=last).order_by("pk")[:BATCH]):
        yield from batch
        last = batch[-1].pk


def prune(days: int, newest: int, now: datetime, *, go_on: Callable[[], bool] = lambda: True) -> tuple[int, int]:
    """Remove what is expired, one after the other; returns how many outputs and bytes. Storage failures are logged and left."""
    outputs = size = 0
    for output in expired(days, newest, now):
        if not go_on():
            break
        fresh = output.removed_at is None
        try:
            clear(output)
        except ArchiveError as error:
            logger.warning("%s; it is tried again", error)
        if fresh:
            outputs, size = outputs + 1, size + output.size
    return outputs, size
