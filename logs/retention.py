"""How long finished output and history are kept (SPEC section 5), and what retention of anything has in common."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db import models
from django.db.models import Count, Q

from ci_portal.api.retry import in_transaction
from logs.archive import ArchiveError, clear, mark_removed
from logs.models import Log, Output

logger = logging.getLogger(__name__)

#: Rows that are looked up together, and removed in one transaction.
BATCH = 100

GoOn = Callable[[], bool]
#: What is removed, of which repository, and why → the key of its line of history, and how many that tells of.
Lines = dict[tuple[str, str, str], tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Expired:
    """One thing that retention keeps no longer."""

    kind: str  # as `manage.py prune --only` names it
    key: Any  # of its row, or its place
    repository: str  # the repo_name; of an image on disk its name; "" where it belongs to none
    why: str  # "older than 90 days"
    at: datetime | None  # what its age counts from, UTC
    size: int = 0  # bytes
    name: str = ""  # for people
    event_id: int | None = None


def older_than(days: int) -> str:
    """The reason of what goes by its age."""
    return f"older than {days} day{'' if days == 1 else 's'}"


def beyond(newest: int) -> str:
    """The reason of what goes because there are newer ones."""
    return f"beyond the newest {newest}"


def batches(rows: models.QuerySet[Any, Any], by: str = "pk") -> Iterator[list[dict[str, Any]]]:
    """The rows of a `values` query in the order of `by` and "pk", BATCH at a time: no cursor is open while rows are written."""
    page = rows
    while found := list(page.order_by(by, "pk")[:BATCH]):
        yield found
        last = found[-1]
        after = Q(**{f"{by}__gt": last[by]}) | Q(pk__gt=last["pk"])
        page = rows.filter(after, **{f"{by}__gte": last[by]})


@dataclass(slots=True)
class Told:
    """The history of one prune: a line for each repository and reason, which counts up as batches go."""

    lines: Lines = field(default_factory=dict)

    def tell(self, gone: list[Expired], one: str, many: str) -> Lines:
        """Write what is gone, within the transaction that removes it; returns the lines as they are once that is committed."""
        lines: Lines = {}
        for item in gone:
            place = (one, item.repository, item.why)
            key, count = lines.get(place, self.lines.get(place, (0, 0)))
            lines[place] = (key, count + 1)
        for place, (key, count) in lines.items():
            msg = f"{count} {one if count == 1 else many} {place[2]} removed"
            if key:
                Log.objects.filter(pk=key).update(msg=msg)
            else:
                lines[place] = (Log.objects.record(msg, repo_name=place[1]).pk, count)
        return lines


# Output


def expired_output(days: int, newest: int, now: datetime) -> Iterator[list[Expired]]:
    """Outputs to remove: closed more than `days` ago, or not among the `newest` of their repository; 0 is no limit.

    What still runs is never among them. What an earlier removal that was broken off left behind is.
    """
    yield from _outputs(Output.objects.left_behind(), "whose removal was broken off", "removed_at")
    kept, old = Output.objects.kept(), now - timedelta(days=days)
    if days:
        yield from _outputs(kept.filter(closed_at__lt=old), older_than(days), "closed_at")
    if not newest:
        return
    by_name = kept.order_by().values_list("run__event__repo").annotate(outputs=Count("pk"))
    for name in list(by_name.filter(outputs__gt=newest).values_list("run__event__repo", flat=True)):
        of_repository = kept.filter(run__event__repo=name)
        last_kept = of_repository.order_by("-run_id").values_list("run_id", flat=True)[newest - 1 : newest].first()
        more = of_repository.filter(run_id__lt=last_kept or 0)
        yield from _outputs(more.filter(closed_at__gte=old) if days else more, beyond(newest))


def _outputs(outputs: models.QuerySet[Output], why: str, by: str = "pk") -> Iterator[list[Expired]]:
    rows = outputs.values("pk", "run_id", "run__event_id", "run__event__repo", "closed_at", "removed_at", "size")
    for batch in batches(rows, by):
        yield [
            Expired(
                "output",
                row["pk"],
                row["run__event__repo"] or "",
                why,
                row["closed_at"],
                0 if row["removed_at"] else row["size"],
                f"output of run {row['run_id']}",
                row["run__event_id"],
            )
            for row in batch
        ]


def remove_output(batch: list[Expired], told: Told, go_on: GoOn) -> list[Expired]:
    """Remove these outputs' bytes; returns what is gone. What the storage won't remove now is logged and found again."""
    found = Output.objects.defer("frames").in_bulk([item.key for item in batch])

    def mark() -> tuple[list[Expired], Lines]:
        fresh = [item for item in batch if item.key in found and mark_removed(found[item.key])]
        return fresh, told.tell(fresh, "output", "outputs")

    fresh, lines = in_transaction(mark)
    told.lines |= lines
    mine = {item.key for item in fresh} | {key for key, output in found.items() if output.removed_at}
    return [item for item in batch if item.key in mine and clear_quietly(found[item.key], go_on)]


def clear_quietly(output: Output, go_on: GoOn) -> bool:
    """Remove what is left of an output that is marked as removed; returns whether nothing is."""
    try:
        return clear(output, go_on)
    except ArchiveError as error:
        logger.warning("%s; it is tried again", error)
        return False


# History


def expired_history(days: int, now: datetime, active: Q) -> Iterator[list[Expired]]:
    """Lines of history written more than `days` ago, but for those that `active` finds; 0: none."""
    if not days:
        return
    lines = Log.objects.filter(create_at__lt=now - timedelta(days=days)).exclude(active)
    for batch in batches(lines.values("pk", "create_at", "repository_id"), "create_at"):
        yield [
            Expired("history", row["pk"], row["repository_id"] or "", older_than(days), row["create_at"], name=f"line {row['pk']}")
            for row in batch
        ]


def remove_rows(rows: models.QuerySet[Any], batch: list[Expired]) -> list[Expired]:
    """Delete those of the batch that are still among `rows`, with what belongs to them; returns them.

    The caller holds the transaction. Another process may be at the same batch.
    """
    still = set(rows.select_for_update().filter(pk__in=[item.key for item in batch]).values_list("pk", flat=True))
    rows.model._default_manager.filter(pk__in=still).delete()
    return [item for item in batch if item.key in still]
