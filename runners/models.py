"""Runs (table `runner`): one attempt of an event, one Kubernetes Job or local build."""

from __future__ import annotations

import uuid
from collections.abc import Collection
from contextlib import suppress
from datetime import datetime
from typing import Any, ClassVar

from django.db import IntegrityError, connection, models, transaction
from django.db.models.functions import RowNumber
from django.utils import timezone

from ci_portal.api.columns import TextColumn
from events.models import Event
from logs.models import Log
from runners.backends.causes import Cause


class RunQuerySet(models.QuerySet["Run"]):
    """Named reads."""

    def active(self) -> RunQuerySet:
        """Runs that the portal itself follows and that have no outcome yet."""
        return self.filter(managed=True, status__in=Run.ACTIVE)

    def waiting(self) -> RunQuerySet:
        """Runs to launch, the oldest first."""
        return self.filter(managed=True, status=Run.WAITING).order_by("id")

    def launchable(self) -> RunQuerySet:
        """Runs that wait, and those whose launch was begun by a process that did not come back; the oldest first."""
        lapsed = models.Q(status=Run.LAUNCHING, launched_at=None, claimed_until__lt=timezone.now())
        return self.filter(models.Q(status=Run.WAITING) | lapsed, managed=True).order_by("id")

    def here(self, places: Collection[str]) -> RunQuerySet:
        """Runs whose build is in one of these places (`Backend.place`), or in none that only its own watchers can look into."""
        return self.filter(place__in={"", *places})

    def records(self) -> RunQuerySet:
        """Runs that were recorded from elsewhere."""
        return self.filter(managed__in=[False])  # `NOT managed`, which managed=False becomes, SQLite looks up in no index

    def without_event(self) -> RunQuerySet:
        """Active runs whose event another tool has deleted from the database."""
        return self.active().exclude(models.Exists(Event.objects.filter(pk=models.OuterRef("event_id"))))

    def in_fair_order(self) -> RunQuerySet:
        """What `launchable` has, in the order in which to launch it: repositories in turn, within each the oldest first.

        A run's `turn` counts what its repository has on the backend now and what of it waits longer, so that many waiting runs
        of one repository hold up no other. The repository counts by its name, which outlives its row. What is to be cancelled
        comes first. Filters come before this, slices after it.
        """
        lapsed = models.Q(status=Run.LAUNCHING, launched_at=None, claimed_until__lt=timezone.now())
        place = models.Window(
            RowNumber(),
            partition_by=["backend", "event__repo"],
            order_by=[models.Case(models.When(status=Run.WAITING, then=1), default=0), "id"],
        )
        turn = models.Case(models.When(models.Q(status=Run.WAITING) | lapsed, then=place))
        launchable = self.active().annotate(turn=turn).filter(turn__isnull=False)
        return launchable.order_by(models.F("cancel_requested_at").asc(nulls_last=True), "turn", "id")

    def on_backend(self) -> RunQuerySet:
        """Runs that take one of the MAX_RUNNING places."""
        return self.filter(managed=True, status__in=(Run.LAUNCHING, Run.RUNNING))

    def to_tidy(self) -> RunQuerySet:
        """Runs with an outcome of which the backend may still hold something: a Secret, a folder, even a Job that runs."""
        return self.filter(managed=True, status__in=Run.FINAL, epoch__gt=0, tidied_at=None)


def new_uid() -> str:
    """A run's identity outside the database (label of its Job, folder of its local build): 32 hexadecimal digits."""
    return uuid.uuid4().hex


class Run(models.Model):
    """One attempt of an event. Statuses move only by the guarded transitions below, together with the event's."""

    WAITING, LAUNCHING, RUNNING = "waiting", "launching", "running"
    SUCCEEDED, FAILED, CANCELLED = "succeeded", "failed", "cancelled"
    ACTIVE = (WAITING, LAUNCHING, RUNNING)
    FINAL = (SUCCEEDED, FAILED, CANCELLED)
    #: What transitions write, but for the epoch.
    CHANGING = (
        *("status", "reason", "cause", "digest", "phases", "place", "claimed_by", "claimed_until"),
        *("launched_at", "placed_at", "started_at", "finished_at", "tidied_at", "cancelled_by", "cancel_requested_at"),
    )
    EVENT_STATUS = {SUCCEEDED: Event.SUCCEEDED, FAILED: Event.FAILED, CANCELLED: Event.CANCELLED}

    name = TextColumn(max_length=100)
    status = TextColumn(max_length=10)
    type = TextColumn(max_length=50)
    registory_add = TextColumn(max_length=150, db_column="REGISTORY_ADD")
    registry_name = TextColumn(max_length=150, db_column="REGISTRY_NAME")
    registry_pass = TextColumn(max_length=150, db_column="REGISTRY_PASS")  # always "" now: see repos.credentials
    image_repo = TextColumn(max_length=150, db_column="IMAGE_REPO")
    image_name = TextColumn(max_length=150, db_column="IMAGE_NAME")
    image_tag = TextColumn(max_length=150, db_column="IMAGE_TAG")
    repo_path = TextColumn(max_length=200, db_column="REPO_PATH")  # the git URL; widened from 150 to gitstat.repo's length
    repo_dockerfile = TextColumn(max_length=150, db_column="REPO_DOCKERFILE")
    build_path = TextColumn(max_length=150, db_column="BUILD_PATH")
    desc = TextColumn(max_length=200)
    ctime = models.DateTimeField(auto_now_add=True, null=True)

    # New columns; each has a database default, so that other tools' INSERTs into this table go on working.
    managed = models.BooleanField(default=False, db_default=False)
    event = models.ForeignKey(Event, null=True, blank=True, on_delete=models.CASCADE, db_constraint=False, related_name="runs")
    uid = models.CharField(max_length=32, null=True, blank=True, unique=True)
    attempt = models.PositiveIntegerField(default=1, db_default=1)
    automatic = models.BooleanField(default=False, db_default=False)  # the portal made it, as the cluster ended the one before
    backend = models.CharField(max_length=20, blank=True, default="", db_default="")
    builder = models.CharField(max_length=20, blank=True, default="", db_default="")
    ref = models.CharField(max_length=255, blank=True, default="", db_default="")
    commit = models.CharField(max_length=64, blank=True, default="", db_default="")
    ca_secret = models.CharField(max_length=150, blank=True, default="", db_default="")
    digest = models.CharField(max_length=100, blank=True, default="", db_default="")
    reason = models.CharField(max_length=500, blank=True, default="", db_default="")
    cause = models.CharField(max_length=40, blank=True, default="", db_default="")  # of `reason`: runners.backends.causes
    phases = models.JSONField(null=True, blank=True)  # {"clone": {"started": ISO 8601, "finished": …}, …} as containers told
    place = models.CharField(max_length=64, blank=True, default="", db_default="")  # where the backend has it: Backend.place
    claimed_by = models.CharField(max_length=100, blank=True, default="", db_default="")
    claimed_until = models.DateTimeField(null=True, blank=True)
    epoch = models.PositiveIntegerField(default=0, db_default=0)  # rises with each claim; fences who lost theirs
    launched_at = models.DateTimeField(null=True, blank=True)  # the backend has it
    placed_at = models.DateTimeField(null=True, blank=True)  # the cluster chose a node for it
    started_at = models.DateTimeField(null=True, blank=True)  # its first container runs
    finished_at = models.DateTimeField(null=True, blank=True)
    tidied_at = models.DateTimeField(null=True, blank=True)  # with its outcome recorded, the backend was rid of it
    cancelled_by = models.CharField(max_length=150, blank=True, default="", db_default="")  # who asked for its end
    cancel_requested_at = models.DateTimeField(null=True, blank=True)

    objects = RunQuerySet.as_manager()

    class Meta:
        db_table = "runner"
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["status"], name="runner_status"),
            models.Index(fields=["ctime"], name="runner_ctime"),
            models.Index(fields=["managed", "ctime"], name="runner_recorded"),
            models.Index(fields=["tidied_at", "managed", "status"], name="runner_to_tidy"),
            # What people look runs up by.
            models.Index(fields=["name"], name="runner_name"),
            models.Index(fields=["image_tag"], name="runner_image_tag"),
            models.Index(fields=["commit"], name="runner_commit"),
            models.Index(fields=["digest"], name="runner_digest"),
            models.Index(fields=["finished_at"], name="runner_finished_at"),
        ]

    def __str__(self) -> str:
        return self.name or f"run {self.pk}"

    @property
    def is_active(self) -> bool:
        """Whether an outcome is still to come."""
        return self.managed and self.status in self.ACTIVE

    @property
    def image(self) -> str:
        """The image's name without its tag, as a pull would spell it."""
        return "/".join(part for part in (self.registory_add, self.image_repo, self.image_name) if part)

    # Transitions. Each is one guarded UPDATE in a transaction with its event's and a line of history; it returns whether it
    # was this caller's to make. A second actor finds the guard false and does no harm; so does one whose claim went to another
    # while it was away: the epoch rises with each claim.

    def _held(self, *statuses: str) -> RunQuerySet:
        """This row, as long as it has one of these statuses and was claimed by nobody since this object was read or claimed it."""
        return Run.objects.filter(pk=self.pk, managed=True, epoch=self.epoch, status__in=statuses)

    def _read_again(self) -> None:
        """Refresh what changes in the course of a build, of its event too, by one query of few columns.

        Not the epoch, which must stay that of the claim that this object stands for.
        """
        event = self.event
        names = [*Run.CHANGING, *(f"event__{name}" for name in Event.CHANGING if event is not None)]
        for name, value in Run.objects.values(*names).get(pk=self.pk).items():
            row: models.Model | None = event if name.startswith("event__") else self
            setattr(row, name.removeprefix("event__"), value)

    def _move(self, to: str, since: tuple[str, ...], event_status: str, msg: str, event: dict[str, Any], **columns: Any) -> bool:
        columns, event = {"status": to, **columns}, {"status": event_status, **event}
        with transaction.atomic(savepoint=False):
            if not self._held(*since).update(**columns):
                return False
            Event.objects.filter(pk=self.event_id).update(**event)
            assert self.event is not None  # a managed run always has one
            Log.objects.record(msg, repo_name=self.event.repo, event=self.event, run=self)
        self._note(columns, event)
        return True

    def _note(self, columns: dict[str, Any], event: dict[str, Any] | None = None) -> None:
        """Have this object say what was just written, and its event, where there still is one."""
        for name, value in columns.items():
            setattr(self, name, value)
        if event and self.event is not None:
            for name, value in event.items():
                setattr(self.event, name, value)

    def claim_launch(self, who: str, until: datetime, place: str = "") -> bool:
        """waiting → launching in that place, held by `who` until then. Also takes over a launch whose holder's time ran out.

        Not one whose end was asked for since this object was read: it says nothing of that.
        """
        now = timezone.now()
        free = models.Q(status=Run.WAITING) | models.Q(status=Run.LAUNCHING, launched_at=None, claimed_until__lt=now)
        known = {"managed": True, "epoch": self.epoch, "cancel_requested_at": self.cancel_requested_at}
        claim = {"claimed_by": who[:100], "claimed_until": until, "epoch": self.epoch + 1, "place": place}
        if not Run.objects.filter(free, pk=self.pk, **known).update(status=Run.LAUNCHING, **claim):
            return False
        self._note({"status": Run.LAUNCHING, **claim})
        return True

    def launched(self) -> bool:
        """launching: the backend has it now."""
        assert self.event is not None
        msg = f"run {self.name} launched as a {self.backend} build"
        return self._move(
            Run.LAUNCHING,
            (Run.LAUNCHING,),
            Event.WAITING,
            msg,
            {"reason": ""},
            launched_at=timezone.now(),
            claimed_by="",
            claimed_until=None,
            reason="",
            cause="",
        )

    def wait_for(self, reason: str, cause: Cause | None = None, *, told: bool = True) -> None:
        """Note why the run still waits or has not started; its history tells it once, where it is worth telling."""
        reason = reason[:500]
        if reason == self.reason:
            return
        columns = {"reason": reason, "cause": cause or ""}
        with transaction.atomic(savepoint=False):
            held = self._held(Run.WAITING, Run.LAUNCHING).update(**columns)
            if held:
                Event.objects.filter(pk=self.event_id).update(reason=reason)
                if reason and told and self.event is not None:
                    Log.objects.record(f"run {self.name} waits: {reason}", repo_name=self.event.repo, event=self.event, run=self)
        if held:
            self._note(columns, {"reason": reason})
        else:
            self._read_again()

    def postponed(self, reason: str, cause: Cause | None = None) -> bool:
        """launching → waiting, with the reason; the watcher launches it later."""
        with transaction.atomic():
            back = self._held(Run.LAUNCHING).filter(launched_at=None)
            if not back.update(status=Run.WAITING, claimed_by="", claimed_until=None):
                return False
            self.wait_for(reason, cause)
        self._read_again()
        return True

    def running(self, started_at: datetime) -> bool:
        """launching → running: its first container runs since then (UTC)."""
        msg = f"run {self.name} started"
        columns = {"started_at": started_at, "reason": "", "cause": ""}
        return self._move(Run.RUNNING, (Run.LAUNCHING,), Event.RUNNING, msg, {"reason": ""}, **columns)

    def progressed(self, phases: dict[str, Any], placed_at: datetime | None) -> None:
        """Note when its parts began and ended, while it goes on; no history, no change of state."""
        if self._held(Run.LAUNCHING, Run.RUNNING).update(phases=phases, placed_at=placed_at):
            self.phases, self.placed_at = phases, placed_at

    def give_way(self, reason: str, phases: dict[str, Any] | None = None, cause: Cause | None = None) -> bool:
        """Any active state → failed, while the event waits on for another attempt: the cluster ended this one, not the build.

        Not where the run is to be cancelled: then there is to be no other.
        """
        reason, now = reason[:500], timezone.now()
        msg = f"run {self.name} was ended by the cluster and is built once more: {reason}"
        with transaction.atomic():
            if not self._held(*Run.ACTIVE).filter(cancel_requested_at=None).select_for_update().exists():
                return False
            columns = {"reason": reason, "cause": cause or "", "finished_at": now, **({} if phases is None else {"phases": phases})}
            return self._move(Run.FAILED, Run.ACTIVE, Event.WAITING, msg, {"reason": reason}, **columns)

    def request_cancel(self, who: str) -> bool:
        """Note that the run shall end; its watcher ends it. Asking again changes nothing."""
        active = Run.objects.filter(pk=self.pk, managed=True, status__in=Run.ACTIVE, cancel_requested_at=None)
        with transaction.atomic():
            if not active.update(cancel_requested_at=timezone.now(), cancelled_by=who[:150]):
                return False
            assert self.event is not None
            msg = f"run {self.name} is to be cancelled"
            Log.objects.record(msg, repo_name=self.event.repo, event=self.event, run=self, actor=who)
        self.refresh_from_db()
        return True

    def end_without_event(self, actor: str = "") -> bool:
        """Any active state → failed, where another tool deleted the event: there is nothing left to build it for."""
        reason, now = "Its event was deleted from the database, so the portal ended it.", timezone.now()
        with transaction.atomic():
            active = Run.objects.filter(pk=self.pk, managed=True, status__in=Run.ACTIVE)
            if not active.update(status=Run.FAILED, reason=reason, cause=Cause.EVENT_DELETED, finished_at=now):
                return False
            Log.objects.record(f"run {self.name} failed: {reason}", run=self, actor=actor)
        self.refresh_from_db()
        return True

    def tidied(self) -> bool:
        """Note that the backend holds nothing more of this run that would have to go; returns whether this is news.

        It is where nobody has noted it since this object was read: a launch that came late may leave something once more.
        """
        known = Run.objects.filter(pk=self.pk, status__in=Run.FINAL, tidied_at=self.tidied_at)
        return bool(known.update(tidied_at=timezone.now()))

    @property
    def cancel_reason(self) -> str:
        """The sentence of a run that was cancelled."""
        return f"Cancelled by {self.cancelled_by or 'an anonymous user'}."

    def finish(
        self,
        status: str,
        *,
        reason: str = "",
        cause: Cause | None = None,
        digest: str = "",
        phases: dict[str, Any] | None = None,
        since: tuple[str, ...] = ACTIVE,
    ) -> bool:
        """Any active state → succeeded, failed or cancelled, run and event together; without `phases` they stay as they are known.

        `succeeded` needs a digest: no digest, no success (SPEC section 3).
        """
        if status == Run.SUCCEEDED and not digest:
            raise ValueError("a run can't succeed without the digest of its image")
        now, reason = timezone.now(), reason[:500]
        if status == Run.SUCCEEDED:
            msg = f"run {self.name} succeeded: commit {self.commit} is {self.image}:{self.image_tag}@{digest}"
        else:
            msg = f"run {self.name} {status}: {reason}"
        event = {"digest": digest, "reason": reason, "finished_at": now, "active_key": None}
        columns: dict[str, Any] = {"digest": digest, "reason": reason, "cause": cause or "", "finished_at": now}
        if phases is not None:
            columns["phases"] = phases
        return self._move(status, since, Run.EVENT_STATUS[status], msg, event, **columns)


class Notices(models.Model):
    """What happened around a run, as its backend told it: it outlives the cluster's own Events, which are gone after an hour."""

    MOST = 50

    run = models.OneToOneField(Run, on_delete=models.CASCADE, primary_key=True, db_constraint=False, related_name="notices")
    items = models.JSONField(default=list)  # records as `noted` makes them, the oldest first; at most MOST

    class Meta:
        db_table = "runner_notices"

    def __str__(self) -> str:
        return f"notices of run {self.run_id}"

    @classmethod
    def keep(cls, run: Run, records: list[dict[str, Any]]) -> None:
        """Store these beside what is stored already; of the same `uid` the later one counts, and the last MOST are kept."""
        stored = cls.objects.filter(run=run).values_list("items", flat=True).first()
        known = {record["uid"]: record for record in [*(stored or []), *records]}
        items = sorted(known.values(), key=lambda record: (record["at"], record["uid"]))[-cls.MOST :]
        if stored is None:
            with suppress(IntegrityError):  # another watcher was faster; what is missing then comes with the next news
                cls.objects.create(run=run, items=items)
        elif stored != items:
            cls.objects.filter(run=run).update(items=items)


class Installation(models.Model):
    """One row: what tells this portal's builds from those of another one that shares its namespace."""

    uid = models.CharField(max_length=32)
    #: By the database's name; every build needs it.
    _known: ClassVar[dict[str, str]] = {}

    class Meta:
        db_table = "installation"

    def __str__(self) -> str:
        return self.uid

    @classmethod
    def identity(cls) -> str:
        """32 hexadecimal digits, made when they are first asked for, and never changed."""
        name = str(connection.settings_dict["NAME"])
        known = cls._known.get(name) or cls.objects.filter(pk=1).values_list("uid", flat=True).first()
        uid = known or cls.objects.get_or_create(pk=1, defaults={"uid": new_uid()})[0].uid
        if not connection.in_atomic_block:  # else it may never have been
            cls._known[name] = uid
        return uid


class LaunchGate(models.Model):
    """One row that is locked while a launch is counted against MAX_RUNNING, so that two can't take the last place."""

    class Meta:
        db_table = "launch_gate"

    def __str__(self) -> str:
        return "the gate"

    @classmethod
    def lock(cls) -> None:
        """Wait for the gate and keep it until the surrounding transaction ends."""
        if not cls.objects.select_for_update().filter(pk=1).exists():
            cls.objects.get_or_create(pk=1)
            cls.objects.select_for_update().get(pk=1)
