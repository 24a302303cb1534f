"""Events (table `event`): one check of a repository, with its commit, image tag and outcome."""

from __future__ import annotations

from django.db import models

from ci_portal.api.columns import TextColumn


class EventQuerySet(models.QuerySet["Event"]):
    """Named reads."""

    def active(self) -> EventQuerySet:
        """Events that the portal itself runs and that have no outcome yet."""
        return self.filter(managed=True, status__in=Event.ACTIVE)

    def ended(self) -> EventQuerySet:
        """Events that the portal itself ran and that have their outcome."""
        return self.filter(managed=True, status__in=Event.FINAL)

    def records(self) -> EventQuerySet:
        """Events that were recorded from elsewhere."""
        return self.filter(managed__in=[False])  # `NOT managed`, which managed=False becomes, SQLite looks up in no index


class Event(models.Model):
    """One check of a repository. `managed` events are the portal's own; others only record what happened elsewhere."""

    WAITING, RUNNING, SUCCEEDED, FAILED, CANCELLED = "1", "2", "3", "4", "5"
    LABELS = {WAITING: "waiting", RUNNING: "running", SUCCEEDED: "succeeded", FAILED: "failed", CANCELLED: "cancelled"}
    ACTIVE = (WAITING, RUNNING)
    FINAL = (SUCCEEDED, FAILED, CANCELLED)
    #: What a build's course writes.
    CHANGING = ("status", "job", "digest", "reason", "finished_at", "active_key")

    name = TextColumn(max_length=100)
    status = TextColumn(max_length=20, default="1")
    repo = TextColumn(max_length=150)  # the repository's repo_name
    job = TextColumn(max_length=100)
    type = TextColumn(max_length=50)
    image = TextColumn(max_length=200)
    image_tag = TextColumn(max_length=128, db_column="Image_tag")  # widened from 20 to what an OCI tag may hold
    ctime = models.DateTimeField(auto_now_add=True, null=True)
    desc = TextColumn(max_length=300, db_column="Desc")

    # New columns; each has a database default, so that other tools' INSERTs into this table go on working.
    managed = models.BooleanField(default=False, db_default=False)
    repository = models.ForeignKey(
        "repos.Repository", null=True, blank=True, on_delete=models.SET_NULL, db_constraint=False, related_name="events"
    )
    ref = models.CharField(max_length=255, blank=True, default="", db_default="")  # refs/heads/… or refs/tags/…, HEAD
    commit = models.CharField(max_length=64, blank=True, default="", db_default="")
    digest = models.CharField(max_length=100, blank=True, default="", db_default="")  # sha256:… once it succeeded
    reason = models.CharField(max_length=500, blank=True, default="", db_default="")  # why it waits or failed, one sentence
    created_by = models.CharField(max_length=150, blank=True, default="", db_default="")
    created_token = models.CharField(max_length=100, blank=True, default="", db_default="")  # name of the API token that asked
    finished_at = models.DateTimeField(null=True, blank=True)
    #: What makes two checks the same build: repository, commit and build settings (SPEC section 3.5), SHA-256.
    fingerprint = models.CharField(max_length=64, blank=True, default="", db_default="")
    #: The fingerprint while the event is active (not for `force`), NULL after: at most one active event a fingerprint.
    active_key = models.CharField(max_length=64, null=True, blank=True, unique=True)
    #: Reserve the event's name, and the image tag that the portal made up, against a second check in the same minute.
    name_key = models.CharField(max_length=64, null=True, blank=True, unique=True)
    tag_key = models.CharField(max_length=64, null=True, blank=True, unique=True)

    objects = EventQuerySet.as_manager()

    class Meta:
        db_table = "event"
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["status"], name="event_status"),
            models.Index(fields=["repo"], name="event_repo"),
            models.Index(fields=["fingerprint"], name="event_fingerprint"),
            models.Index(fields=["ctime"], name="event_ctime"),
            models.Index(fields=["created_by"], name="event_created_by"),
            # What scripts look an event up by.
            models.Index(fields=["name"], name="event_name"),
            models.Index(fields=["job"], name="event_job"),
            models.Index(fields=["image_tag"], name="event_image_tag"),
            models.Index(fields=["commit"], name="event_commit"),
            models.Index(fields=["digest"], name="event_digest"),
            # What retention looks for every hour: the oldest, those of each repository, and the oldest records.
            models.Index(fields=["finished_at"], name="event_finished_at"),
            models.Index(fields=["repo", "status", "managed"], name="event_of_repository"),
            models.Index(fields=["managed", "ctime"], name="event_recorded"),
        ]

    def __str__(self) -> str:
        return self.name or f"event {self.pk}"

    @property
    def status_label(self) -> str:
        """The status in words; an adopted row's unknown status is shown as it is."""
        status: str = self.status
        return self.LABELS.get(status, status)

    @property
    def is_active(self) -> bool:
        """Whether an outcome is still to come."""
        return self.managed and self.status in self.ACTIVE

    def reopen(self) -> bool:
        """failed or cancelled → waiting, for another attempt. Raises IntegrityError where the same build is active already."""
        ended = Event.objects.filter(pk=self.pk, managed=True, status__in=(Event.FAILED, Event.CANCELLED))
        reopened = ended.update(status=Event.WAITING, reason="", finished_at=None, active_key=self.fingerprint)
        if reopened:
            self.refresh_from_db()
        return bool(reopened)


class IdempotencyKey(models.Model):
    """A check that came with an `Idempotency-Key` header: the answer it got, given again to a repeated request."""

    key = models.CharField(max_length=64, unique=True)  # SHA-256 of the header's value and of who sent it
    request = models.CharField(max_length=64)  # keyed hash of the body: the same key with another body is an error
    event = models.ForeignKey(Event, on_delete=models.CASCADE, db_constraint=False, related_name="idempotency_keys")
    status = models.PositiveSmallIntegerField()  # the HTTP status that was answered
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "idempotency_key"

    def __str__(self) -> str:
        return self.key[:12]
