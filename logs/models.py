"""The history (`log`) and what runs printed (`output`, `output_stream`, `output_chunk`, `output_segment`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import models

from accounts.models import AuditEntry
from accounts.sender import current_request

if TYPE_CHECKING:
    from events.models import Event
    from runners.models import Run


class LogQuerySet(models.QuerySet["Log"]):
    """Named reads and the one way to write history."""

    def record(
        self, msg: str, *, repo_name: str = "", event: Event | None = None, run: Run | None = None, actor: str | None = None
    ) -> Log:
        """Write one line of history: what changed, about which repository, event and run, and who did it.

        `actor`: "" is somebody who has not logged in, None the portal itself. What somebody asked for goes into the audit too.
        """
        if actor is not None and current_request() is not None:
            AuditEntry.objects.record("change", repo_name or (event.name if event else run.name if run else ""), msg)
        return self.create(
            msg=msg,
            repository_id=repo_name or None,
            event_id=event.pk if event else None,
            run_id=run.pk if run else None,
            actor=(actor or "")[:150],
        )


class Log(models.Model):
    """One change (table `log`). It outlives what it tells of: its keys may name a repository, event or run that is gone."""

    # The original's own columns and their order; foreign keys point up by name.
    repository = models.ForeignKey(
        "repos.Repository",
        to_field="repo_name",
        db_column="Repo_name",
        null=True,
        blank=True,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        related_name="logs",
    )
    event = models.ForeignKey(
        "events.Event",
        db_column="event_uuid",
        null=True,
        blank=True,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        related_name="logs",
    )
    run = models.ForeignKey(
        "runners.Run",
        db_column="Runner_uuid",
        null=True,
        blank=True,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        related_name="logs",
    )
    msg = models.TextField(null=True, blank=True, default="")
    create_at = models.DateTimeField(auto_now_add=True, null=True)
    # New columns: who made the change.
    actor = models.CharField(max_length=150, blank=True, default="", db_default="")

    objects = LogQuerySet.as_manager()

    class Meta:
        db_table = "log"
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["create_at"], name="log_create_at"),
            models.Index(fields=["actor"], name="log_actor"),
        ]

    def __str__(self) -> str:
        return self.msg or ""


class OutputQuerySet(models.QuerySet["Output"]):
    """Named reads."""

    def to_archive(self) -> OutputQuerySet:
        """Closed outputs whose bytes are still in the database, the oldest first."""
        return self.kept().filter(archived_at__isnull=True).order_by("closed_at")

    def kept(self) -> OutputQuerySet:
        """Closed outputs whose bytes are still there, in the database or in the storage."""
        return self.filter(closed_at__isnull=False, removed_at__isnull=True, size__gt=0)

    def left_behind(self) -> OutputQuerySet:
        """Outputs that are marked as removed, and of which something may still be there."""
        return self.filter(removed_at__isnull=False, archive__gt="")


class Output(models.Model):
    """What one run printed: the masked bytes of its containers, one after the other, clone first."""

    VERIFIED, GAP, UNPROVEN = "verified", "gap", "unproven"

    run = models.OneToOneField("runners.Run", on_delete=models.CASCADE, db_constraint=False, related_name="output")
    size = models.BigIntegerField(default=0)  # bytes stored so far; what Range and Last-Event-ID count in
    closed_at = models.DateTimeField(null=True)  # no byte comes after this
    outcome = models.CharField(max_length=10, default="")  # the run's final status, for those who follow the stream
    verdict = models.CharField(max_length=10, default="")  # VERIFIED, GAP or UNPROVEN once closed
    verdict_detail = models.CharField(max_length=300, default="")
    writes = models.BigIntegerField(default=0)  # rises with each commit of a recorder; fences a stale one
    dropped = models.BigIntegerField(default=0)  # masked bytes beyond the limit: counted and cksummed, not stored
    archive = models.CharField(max_length=200, default="")  # name in Django's default storage of the archive, or of one being made
    archived_at = models.DateTimeField(null=True)  # the archive holds the bytes now, the chunks are gone
    removed_at = models.DateTimeField(null=True)  # retention removed the bytes then; what is known of them stays
    frames = models.JSONField(default=list)  # of the archive: [offset in output, offset in file] of each compressed member

    objects = OutputQuerySet.as_manager()

    class Meta:
        db_table = "output"
        indexes = [
            models.Index(fields=["archived_at", "closed_at"], name="output_archived"),
            # What retention looks for every hour: what is kept, by age, and what an interrupted removal left behind.
            models.Index(fields=["removed_at", "closed_at"], name="output_kept"),
            models.Index(fields=["removed_at", "archive"], name="output_removed"),
        ]

    def __str__(self) -> str:
        return f"output of run {self.run_id}"


class OutputStream(models.Model):
    """One container's share of an output: where reading stands, and what was read against what the container says it printed."""

    output = models.ForeignKey(Output, on_delete=models.CASCADE, related_name="streams")
    position = models.PositiveSmallIntegerField()  # 0, 1, … in the order in which the containers run
    container = models.CharField(max_length=63)
    start = models.BigIntegerField(default=0)  # offset in the output of this container's first byte
    cursor = models.CharField(max_length=300, default="")  # where to go on reading, in the backend's own words
    ahead = models.BigIntegerField(default=0)  # masked bytes that the output has beyond what the cursor says
    raw_bytes = models.BigIntegerField(default=0)  # bytes as printed, before masking
    crc = models.BigIntegerField(default=0)  # running state of POSIX cksum over those bytes
    bare_bytes = models.BigIntegerField(default=0, db_default=0)  # the same of those bytes without carriage returns
    bare_crc = models.BigIntegerField(default=0, db_default=0)
    ended = models.BooleanField(default=False)  # the container has terminated and its stream was read to the end
    expected_bytes = models.BigIntegerField(null=True)  # as the container reported; NULL: it could report nothing
    expected_cksum = models.BigIntegerField(null=True)
    expected_bare_bytes = models.BigIntegerField(null=True)
    expected_bare_cksum = models.BigIntegerField(null=True)
    gaps = models.JSONField(default=list)  # [offset in output, bytes missing or null] of each gap that was noticed

    class Meta:
        db_table = "output_stream"
        ordering = ["output_id", "position"]
        constraints = [models.UniqueConstraint(fields=["output", "position"], name="output_stream_once")]

    def __str__(self) -> str:
        return f"{self.container} of {self.output_id}"


class OutputChunk(models.Model):
    """Consecutive bytes of an output. The unique key fences a stale writer: two can't both append at one offset."""

    id = models.BigAutoField(primary_key=True)
    output = models.ForeignKey(Output, on_delete=models.CASCADE, related_name="chunks")
    start = models.BigIntegerField()
    data = models.BinaryField()
    printed_at = models.DateTimeField(null=True)  # UTC, of the first byte, as the backend knows it

    class Meta:
        db_table = "output_chunk"
        ordering = ["output_id", "start"]
        constraints = [models.UniqueConstraint(fields=["output", "start"], name="output_chunk_once")]

    def __str__(self) -> str:
        return f"{self.output_id}@{self.start}"


class OutputSegment(models.Model):
    """Whole lines of an output, about 1 MiB of them, and how to find things among them without reading all (`logs.line_index`).

    A segment follows from the bytes alone, so whoever needs one makes it; lines are counted from 0, offsets are of the output.
    """

    id = models.BigAutoField(primary_key=True)
    output = models.ForeignKey(Output, on_delete=models.CASCADE, related_name="segments")
    start = models.BigIntegerField()
    end = models.BigIntegerField()
    first_line = models.BigIntegerField()
    lines = models.IntegerField()
    marks = models.JSONField(default=list)  # [line, offset, colours in force there] about every 64 KiB
    landmarks = models.JSONField(default=list)  # [line, kind, key, text, at]: `logs.landmarks.Landmark`
    times = models.JSONField(default=list)  # [offset, when it was printed: milliseconds since 1970]
    colours = models.CharField(max_length=100, default="")  # in force after the last byte, as parameters of SGR

    class Meta:
        db_table = "output_segment"
        ordering = ["output_id", "start"]
        constraints = [models.UniqueConstraint(fields=["output", "start"], name="output_segment_once")]
        indexes = [models.Index(fields=["output", "first_line"], name="output_segment_line")]

    def __str__(self) -> str:
        return f"{self.output_id}@{self.start}-{self.end}"
