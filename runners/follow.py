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
from concurrent.futures import Executor
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any, Protocol

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from logs.masking import masked
from logs.output import Recorder
from repos.credentials import CredentialUnreadable, GitLogin
from runners.backends.base import Backend, BackendError, ContainerState, Piece, RunState, Unreachable
from runners.describe import build_secrets, build_spec, registry_of, secrets_of
from runners.models import Run
from runners.outcome import Outcome, outcome, phases
from runners.record import next_attempt
from runners.registry import RegistryError, RegistryUnreachable

logger = logging.getLogger(__name__)

#: POSIX cksum of no bytes at all: what a container that never started has printed.
NOTHING = (0, 4294967295)
#: A Job that was just created may not have been listed yet; only after this does its absence mean that it is gone.
UNSEEN_SECONDS = 10
#: The portal's own time-out: the Job's deadline and this, for Jobs that an unreachable node holds for ever.
GRACE_SECONDS = 120
#: How often a stream that can't be read is tried again once its container has ended, and the registry once the build has.
LAST_TRIES, CONFIRM_TRIES = 6, 10
#: Attempts at a build that the cluster, not the build itself, brings to an end.
ATTEMPTS = 2
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
        self.reading: str = ""  # the container whose stream is open
        self.received: list[Piece] = []
        self.ahead = threading.Semaphore(PIECES_AHEAD)
        self.tries = 0
        self.not_before = 0.0  # time.monotonic() before which the stream is not opened again
        self.cancelling = False
        self.delete_again = 0.0  # time.monotonic() from which a cancelled run's deletion is tried again
        self.settling = False
        self.done = False  # settled, or not ours any more: the watcher forgets it

    # What the backend tells

    def look(self) -> None:
        """Ask the backend how the run stands, and do what follows from it."""
        if self.settling or self.done:
            return
        try:
            state = self.backend.state(self.spec)
        except Unreachable:
            return  # known again once the backend is
        launched = self.run.launched_at or timezone.now()
        age = timezone.now() - launched
        if not state.exists and not self.cancelling and age < timedelta(seconds=UNSEEN_SECONDS):
            return
        took = timezone.now() - (state.began or launched)
        overdue = not state.queued and took > timedelta(seconds=self.spec.timeout_seconds + GRACE_SECONDS)
        if self.run.status == Run.LAUNCHING:
            if state.started_at:
                self.run.running(state.started_at)
            else:
                self.run.wait_for(masked(state.problem, self.secrets) or state.waiting, told=bool(state.problem))
        ended = state.finished or not state.exists or state.fatal or overdue
        if self._read(state, ended) and ended:
            self._conclude(state, overdue)

    def cancel(self, asked: Run) -> None:
        """End the build because `asked`, the row as it is now, says so; called until the run has its end."""
        self.run.cancelled_by = asked.cancelled_by
        if not self.settling and time.monotonic() >= self.delete_again:
            self.cancelling, self.delete_again = True, time.monotonic() + DELETE_SECONDS
            self.pool.submit(self._quietly, self.backend.delete)

    def _read(self, state: RunState, ended: bool) -> bool:
        """Open the stream of the container whose turn it is; returns whether all there is was read."""
        known = {container.name: container for container in state.containers}
        for name in self.containers:
            if self.recorder.ended(name):
                continue
            if self.reading:
                return False
            container = known.get(name)
            if state.exists and container is not None and container.started_at is not None:
                self._open(name, container, ended)
                if not self.recorder.ended(name):
                    return False
            elif ended:
                self.recorder.end(name, *(NOTHING if state.exists else (None, None)))
            else:
                return False
        return True

    def _open(self, name: str, container: ContainerState, ended: bool) -> None:
        if time.monotonic() < self.not_before:
            return
        if ended and self.tries >= (1 if self.cancelling else LAST_TRIES):
            self.recorder.end(name, container.report.get("bytes"), container.report.get("cksum"))
            self.tries = 0
            return
        self.reading = name
        cursor = self.recorder.cursor(name)
        threading.Thread(target=self._stream, args=(name, cursor), name=f"stream-{self.run.pk}-{name}", daemon=True).start()

    def _stream(self, name: str, cursor: str) -> None:
        """In a thread of its own: hand each piece to the watcher, at most PIECES_AHEAD of what it has stored."""
        error: Exception | None = None
        try:
            for piece in self.backend.stream(self.spec, name, cursor):
                self.ahead.acquire()
                if self.done:
                    return
                self.inbox.put(partial(self.received.append, piece))
        except BackendError as caught:
            error = caught
        except Exception as caught:
            logger.exception("run %s: reading the output of %s", self.run.name, name)
            error = caught
        self.inbox.put(partial(self._ended, name, error))

    def flush(self) -> None:
        """Store what was received. Raises logs.output.StaleWriter where another watcher stores this run's output."""
        if not self.received:
            return
        pieces = self.received[:]
        del self.received[:]
        self.tries = 0
        self.recorder.append_many(self.reading, pieces)
        for _ in pieces:
            self.ahead.release()

    def _ended(self, name: str, error: Exception | None) -> None:
        """A stream is at its end, or broke and is opened again later from where the database stands."""
        self.flush()
        self.reading = ""
        if error is not None:
            self.tries += 1
            self.not_before = time.monotonic() + min(0.2 * 2**self.tries, 5)
            self.look()
            return
        report = self._report(name)
        self.recorder.end(name, report.get("bytes"), report.get("cksum"))
        self.tries = 0
        self.look()

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
        if overdue and not state.finished:
            late = f"{GRACE_SECONDS} s after its time limit of {self.spec.timeout_seconds} s"
            ended = Outcome(reason=f"It had not ended {late}, so the portal gave it up.")
        if self.cancelling and not ended.digest:
            ended = Outcome(reason=self.run.cancel_reason)
        elif not state.finished and state.exists:
            self.pool.submit(self._quietly, self.backend.delete)
        if ended.digest and self.spec.registry:
            self.pool.submit(self._confirm, ended, phases(state))
        else:
            self._settle(ended, phases(state), disrupted=state.disrupted)

    def _confirm(self, ended: Outcome, times: dict[str, Any]) -> None:
        """In a thread of its own: does the registry have what the builder says it pushed?"""
        path = "/".join(part for part in (self.spec.image_repo, self.spec.image_name) if part)
        reason = f"The registry does not have the digest {ended.digest} that the builder reported."
        for turn in range(CONFIRM_TRIES):
            try:
                if registry_of(self.spec, self.backend).confirm(path, ended.digest):
                    self.inbox.put(partial(self._settle, ended, times))
                    return
                break
            except RegistryUnreachable as error:
                reason = f"The image's digest could not be confirmed: {error}"
                if not self._pause(min(0.25 * 2**turn, 10)):
                    return  # the next watcher asks again
            except RegistryError as error:
                reason = f"The image's digest could not be confirmed: {error}"
                break
            except Exception:
                logger.exception("run %s: confirming its digest", self.run.name)
                reason = "The image's digest could not be confirmed; the watcher's log says more."
                break
        self.inbox.put(partial(self._settle, Outcome(reason=reason), times))

    def _pause(self, seconds: float) -> bool:
        """Wait so long, unless the watcher lets go of the run; returns whether it is still ours."""
        until = time.monotonic() + seconds
        while not self.done and time.monotonic() < until:
            time.sleep(0.1)
        return not self.done

    def _settle(self, ended: Outcome, times: dict[str, Any], disrupted: bool = False) -> None:
        """Move run and event to their end and close the output, together; then tidy up.

        What the cluster ended (eviction, node loss, preemption) is built once more, as a new run of the same event.
        """
        status = Run.SUCCEEDED if ended.digest else Run.CANCELLED if self.cancelling else Run.FAILED
        with transaction.atomic():
            if disrupted and not self.cancelling and self.run.attempt < ATTEMPTS and self.run.give_way(ended.reason, times):
                next_attempt(self.run)
            elif not self.run.finish(status, reason=ended.reason, digest=ended.digest, phases=times):
                self.run.refresh_from_db()  # someone else ended it; the output still gets its end
            self.recorder.close(self.run.status)
        self.done = True
        self.pool.submit(self._quietly, self.backend.settled)

    def _quietly(self, call: Callable[[Any], None]) -> None:
        """Tidying must not fail a run; what stays is found again by the backend's own safety net."""
        try:
            call(self.spec)
        except BackendError as error:
            logger.warning("run %s: tidying up: %s", self.run.name, error)
        except Exception:
            logger.exception("run %s: tidying up", self.run.name)
