"""Follow one run: move its state, store its output, settle its outcome.

Everything here runs in the watcher's one thread, the only one that writes; streams and slow calls run in threads of their own
and report back through the inbox. Nothing is kept that the database does not have: a Follow that is dropped (database away,
lease lost, crash) is made anew from its row and goes on at the stored cursor.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Protocol

from django.conf import settings
from django.db import Error, close_old_connections, transaction
from django.utils import timezone

from logs.line_index import SEGMENT, complete
from logs.masking import masked
from logs.models import Output
from logs.output import Recorder, StaleWriter
from repos.credentials import CredentialUnreadable, GitLogin
from runners.backends.base import Backend, BackendError, ContainerState, Piece, RunState, Unreachable
from runners.backends.causes import Cause
from runners.describe import build_secrets, build_spec, registry_of, secrets_of
from runners.leases import AWAY_SECONDS
from runners.models import Run
from runners.outcome import Outcome, outcome
from runners.progress import Progress
from runners.record import next_attempt
from runners.registry import RegistryError, RegistryUnreachable
from runners.tidy import tidy

logger = logging.getLogger(__name__)

#: POSIX cksum of no bytes at all: what a container that never started has printed.
NOTHING = (0, 4294967295)
#: A Job that was just created may not have been listed yet; only after this does its absence mean that it is gone.
UNSEEN_SECONDS = 10
#: The portal's own time-out: the Job's deadline and this, for Jobs that an unreachable node holds for ever.
GRACE_SECONDS = 120
#: So long it must have been overdue while the backend answered: one that was away may have to learn first that all went well.
OVERDUE_SECONDS = 10
#: How long an open stream of a run that is overdue, or was cancelled so long ago, is waited for.
LAST_SECONDS = 60
#: How often a stream that can't be read is tried again once its container has ended.
LAST_TRIES = 15
#: How long a registry that does not answer is asked again for the digest.
CONFIRM_SECONDS = 300
#: Beginning of what is said of a run on a machine that is away.
ELSEWHERE = "The machine that ran the build has not been heard of for"
#: Seconds until the deletion of a cancelled run is asked for again.
DELETE_SECONDS = 5.0
#: Pieces that a stream may be ahead of the database; with at most 256 KiB each this bounds the memory.
PIECES_AHEAD = 24


class Inbox(Protocol):
    """Where other threads leave work for the watcher's thread."""

    def put(self, work: Callable[[], None]) -> None:
        """Have the watcher call `work` soon."""


class Follow:
    """One run while this watcher holds it."""

    def __init__(self, run: Run, backend: Backend, inbox: Inbox, pool: Executor) -> None:
        self.run, self.backend, self.inbox, self.pool = run, backend, inbox, pool
        self.spec = build_spec(run)
        self.containers = backend.containers(self.spec)
        try:
            self.secrets = secrets_of(run, self.spec).values()
        except CredentialUnreadable as error:  # they were readable at the launch; what can't be opened can't be masked
            logger.error("run %s: %s", run.name, error)
            self.secrets = build_secrets(self.spec, GitLogin()).values()  # the registry's login still can
        self.recorder = Recorder(run.pk, self.containers, self.secrets, settings.PORTAL.output.limit_bytes)
        self.indexing: Future[None] | None = None
        self.indexed = self.recorder.output.size  # up to here the lines' index was brought up to date, or need not be
        self.progress = Progress(run, self.secrets)
        self.reading: str = ""  # the container whose stream is open
        self.stream_number = 0  # of the stream that counts; what an older one still brings is not taken
        self.received: list[Piece] = []
        self.ahead = threading.Semaphore(PIECES_AHEAD)
        self.tries = 0
        self.heard = 0.0  # time.monotonic() when the stream was opened or brought something last
        self.not_before = 0.0  # time.monotonic() before which the stream is not opened again
        self.overdue_since = 0.0  # time.monotonic() since when it is overdue, 0 where it is not
        # Also where a watcher that is gone had the backend delete it.
        self.cancelling = run.cancel_requested_at is not None
        self.deleted_at = 0.0  # time.monotonic() when the backend took the deletion; a cluster that is away is waited for
        self.delete_again = 0.0  # time.monotonic() from which a cancelled run's deletion is tried again
        self.settling = False
        self.confirm_again: Callable[[], None] | None = None  # the registry did not answer
        self.done = False  # settled, or not ours any more: the watcher forgets it

    # What the backend tells

    def look(self) -> None:
        """Ask the backend how the run stands, and do what follows from it."""
        if self.confirm_again and time.monotonic() >= self.not_before:
            self.pool.submit(self.confirm_again)
            self.confirm_again = None
        if self.settling or self.done:
            return
        if self.run.place and not self.backend.place:
            return  # the folder of local builds can't be read now: whose this one is, nobody knows
        try:
            state = self.backend.state(self.spec)
        except Unreachable:
            return  # known again once the backend is
        launched = self.run.launched_at or timezone.now()
        age = timezone.now() - launched
        if not state.exists and not self.cancelling and age < timedelta(seconds=UNSEEN_SECONDS):
            return
        overdue = self._overdue(state, launched)
        if self.run.status == Run.LAUNCHING:
            if state.started_at:
                self.run.running(state.started_at)
            else:
                problem = masked(state.problem, self.secrets)
                self.run.wait_for(problem or state.waiting, state.cause, told=bool(problem))
        self.progress.note(state)
        ended = state.finished or not state.exists or state.fatal or overdue or self._since(self.deleted_at) > LAST_SECONDS
        if self._read(state, ended) and ended:
            self._conclude(state, overdue)

    @staticmethod
    def _since(moment: float) -> float:
        """Seconds since that moment of time.monotonic(); 0 where it has not come."""
        return time.monotonic() - moment if moment else 0.0

    def _overdue(self, state: RunState, launched: datetime) -> bool:
        """Whether it should have ended long ago."""
        took = timezone.now() - (state.began or launched)
        if state.queued or state.stale or took <= timedelta(seconds=self.spec.timeout_seconds + GRACE_SECONDS):
            self.overdue_since = 0.0
        elif not self.overdue_since:
            self.overdue_since = time.monotonic()
        return self._since(self.overdue_since) > OVERDUE_SECONDS

    def cancel(self, asked: Run) -> None:
        """End the build because `asked`, the row as it is now, says so; called until the run has its end."""
        self.run.cancelled_by = asked.cancelled_by
        if not self.settling and time.monotonic() >= self.delete_again:
            self.cancelling = True
            self.delete_again = time.monotonic() + DELETE_SECONDS
            self.pool.submit(self._delete)

    def _delete(self) -> None:
        """In a thread of its own: have the backend end the run; asked again for as long as it has not.

        A build that has ended by itself is left alone: its output can be read only while its pod is there.
        """
        try:
            state = self.backend.state(self.spec)
            if state.finished and not state.stale:
                return
            self.backend.delete(self.spec)
            self.deleted_at = self.deleted_at or time.monotonic()
        except BackendError as error:
            logger.warning("run %s: ending it: %s", self.run.name, error)
        except Exception:
            logger.exception("run %s: ending it", self.run.name)

    def _read(self, state: RunState, ended: bool) -> bool:
        """Open the stream of the container whose turn it is; returns whether all there is was read."""
        known = {container.name: container for container in state.containers}
        for name in self.containers:
            if self.recorder.ended(name):
                continue
            if self.reading and self._waited(state) < LAST_SECONDS:
                return False
            if self.reading:  # its node may be lost, and the stream with it
                self._let_go_of_stream()
            container = known.get(name)
            if state.exists and container is not None and container.started_at is not None:
                if state.stale:
                    self.tries = 0  # it is not the stream that fails
                    return False
                self._open(name, container, ended)
                if not self.recorder.ended(name):
                    return False
            elif ended:
                self.recorder.end(name, *(NOTHING if state.exists else (None, None)))
            else:
                return False
        return True

    def _waited(self, state: RunState) -> float:
        """Seconds that the open stream was waited for although the run should be over."""
        waited = max(self._since(self.overdue_since), self._since(self.deleted_at))
        # One that has ended printed no more than there is: all of it is read, however long the portal was away.
        return min(waited, self._since(self.heard)) if state.finished else waited

    def _open(self, name: str, container: ContainerState, ended: bool) -> None:
        if time.monotonic() < self.not_before:
            return
        if ended and self.tries >= (1 if self.cancelling else LAST_TRIES):
            self._end(name, container.report)
            self.tries = 0
            return
        self.reading, self.heard = name, time.monotonic()
        self.stream_number += 1
        self.ahead = threading.Semaphore(PIECES_AHEAD)
        stream = partial(self._stream, self.stream_number, self.ahead, name, self.recorder.cursor(name))
        threading.Thread(target=stream, name=f"stream-{self.run.pk}-{name}", daemon=True).start()

    def _let_go_of_stream(self) -> None:
        """Wait no longer for the open stream: what it still brings is not taken."""
        self.flush()
        self.tries = LAST_TRIES
        self.reading = ""
        self.stream_number += 1
        self.ahead.release()  # it may be waiting; it sees that it no longer counts and ends

    def _stream(self, number: int, ahead: threading.Semaphore, name: str, cursor: str) -> None:
        """In a thread of its own: hand each piece to the watcher, at most PIECES_AHEAD of what it has stored."""
        error: Exception | None = None
        try:
            for piece in self.backend.stream(self.spec, name, cursor):
                ahead.acquire()
                if self.done or number != self.stream_number:
                    return
                self.inbox.put(partial(self._receive, number, piece))
        except BackendError as caught:
            error = caught
        except Exception as caught:
            logger.exception("run %s: reading the output of %s", self.run.name, name)
            error = caught
        self.inbox.put(partial(self._ended, number, name, error))

    def _receive(self, number: int, piece: Piece) -> None:
        if number == self.stream_number:
            self.received.append(piece)

    def flush(self) -> None:
        """Store what was received. Raises logs.output.StaleWriter where another watcher stores this run's output."""
        if not self.received:
            return
        pieces = self.received[:]
        del self.received[:]
        self.tries, self.heard = 0, time.monotonic()
        self.recorder.append_many(self.reading, pieces)
        for piece in pieces:
            self.progress.took(self.reading, piece)
            self.ahead.release()
        if self.recorder.output.size - self.indexed >= SEGMENT and (self.indexing is None or self.indexing.done()):
            self.indexed = self.recorder.output.size
            self.indexing = self.pool.submit(self._index)

    def _index(self) -> None:
        """In a thread of its own, behind which no output waits: spare viewers making the lines' index themselves."""
        try:
            complete(Output.objects.get(run_id=self.run.pk))
        except (Output.DoesNotExist, Error) as error:
            logger.warning("run %s: its lines are indexed later: %s", self.run.name, error)
        finally:
            close_old_connections()

    def _ended(self, number: int, name: str, error: Exception | None) -> None:
        """A stream is at its end, or broke and is opened again later from where the database stands."""
        if number != self.stream_number:
            return
        self.flush()
        self.reading = ""
        if error is not None:
            self.tries += 1
            self.not_before = time.monotonic() + min(0.2 * 2**self.tries, 5)
            self.look()
            return
        self._end(name, self._report(name))
        self.tries = 0
        self.look()

    def _end(self, name: str, report: dict[str, Any]) -> None:
        bare = (report.get("bare_bytes"), report.get("bare_cksum"))
        self.recorder.end(name, report.get("bytes"), report.get("cksum"), bare, report.get("cut", 0))

    def _report(self, name: str) -> dict[str, Any]:
        try:
            state = self.backend.state(self.spec)
        except Unreachable:
            return {}
        return next((container.report for container in state.containers if container.name == name), {})

    # How it ended

    def _conclude(self, state: RunState, overdue: bool) -> None:
        """All was read: decide the outcome, and ask the registry about a success."""
        if self.settling:
            return
        self.settling = True
        ended = outcome(self.spec, state, self.containers)
        # It may quote the Dockerfile, or what the build said last.
        ended = replace(ended, reason=masked(ended.reason, self.secrets))
        if self.run.place not in ("", self.backend.place):
            away = f"{ELSEWHERE} {AWAY_SECONDS // 60} minutes: see to the portal there, and build it again."
            ended = Outcome(reason=away, cause=Cause.MACHINE_AWAY)
        elif overdue and not state.finished:
            late = f"{GRACE_SECONDS} s after its time limit of {self.spec.timeout_seconds} s"
            ended = Outcome(reason=f"It had not ended {late}, so the portal gave it up.", cause=Cause.OVERDUE)
        if self.cancelling and not ended.digest:
            late = "" if state.finished else f" Its end was not confirmed within {LAST_SECONDS} s."
            ended = Outcome(reason=self.run.cancel_reason + late, cause=Cause.CANCELLED)
        times = self.progress.times(state)
        if ended.digest and self.spec.registry:
            self.pool.submit(self._confirm, ended, times, time.monotonic())
        else:
            self._settle(ended, times, disrupted=state.disrupted)

    def _confirm(self, ended: Outcome, times: dict[str, Any], since: float) -> None:
        """In a thread of its own: does the registry have what the builder says it pushed? `since`: when it was asked first."""
        path = "/".join(part for part in (self.spec.image_repo, self.spec.image_name) if part)
        reason = f"The registry does not have the digest {ended.digest} that the builder reported."
        cause = Cause.DIGEST_MISSING
        try:
            if registry_of(self.spec, self.backend).confirm(path, ended.digest):
                self.inbox.put(partial(self._settle, ended, times))
                return
        except RegistryUnreachable as error:
            if self._since(since) < CONFIRM_SECONDS:
                self.inbox.put(partial(self._confirm_later, partial(self._confirm, ended, times, since)))
                return
            reason, cause = f"The image's digest could not be confirmed: {error}", Cause.DIGEST_UNCONFIRMED
        except RegistryError as error:
            reason, cause = f"The image's digest could not be confirmed: {error}", Cause.DIGEST_UNCONFIRMED
        except Exception:
            logger.exception("run %s: confirming its digest", self.run.name)
            reason, cause = "The image's digest could not be confirmed; the watcher's log says more.", Cause.DIGEST_UNCONFIRMED
        self.inbox.put(partial(self._settle, Outcome(reason=reason, cause=cause), times))

    def _confirm_later(self, confirm: Callable[[], None]) -> None:
        self.tries += 1
        self.not_before = time.monotonic() + min(0.2 * 2**self.tries, 10)
        self.confirm_again = confirm

    def _settle(self, ended: Outcome, times: dict[str, Any], disrupted: bool = False) -> None:
        """Move run and event to their end and close the output, together; then tidy up.

        What the cluster ended (eviction, node loss, preemption) is built once more, as a new run of the same event. Raises
        StaleWriter where the run is another watcher's by now.
        """
        if disrupted and not self.cancelling:
            self.run.refresh_from_db(fields=["cancel_requested_at", "cancelled_by"])
            if self.run.cancel_requested_at:  # asked for just before
                self.cancelling, ended = True, Outcome(reason=self.run.cancel_reason, cause=Cause.CANCELLED)
        status = Run.SUCCEEDED if ended.digest else Run.CANCELLED if self.cancelling else Run.FAILED
        with transaction.atomic():
            again = disrupted and not self.cancelling and not self.run.automatic
            if again and self.run.give_way(ended.reason, times, ended.cause):
                next_attempt(self.run, automatic=True)
            elif not self.run.finish(status, reason=ended.reason, cause=ended.cause, digest=ended.digest, phases=times):
                self.run.refresh_from_db()
                if self.run.is_active:
                    raise StaleWriter(f"run {self.run.name} has another watcher")
            self.recorder.close(self.run.status)  # also where someone else ended the run
        self.done = True
        self.pool.submit(tidy, self.run, self.backend)
