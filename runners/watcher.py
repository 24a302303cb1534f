"""The watcher: launches what waits, follows what runs, stores output, settles outcomes.

`watch_forever` is a loop around `watch_once`; one thread does all the work that touches rows. Threads beside it wait: for the
backend's news, for each open stream, for launches and registries. They leave what they found in the inbox.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import timedelta
from functools import partial

from django.db import DatabaseError, DataError, IntegrityError, InterfaceError, close_old_connections, connection
from django.utils import timezone

from logs.archive import ArchiveError, archive
from logs.models import Output
from logs.output import StaleWriter
from runners import leases
from runners.backend import BACKENDS, backend_named
from runners.backends.base import Backend, BackendError
from runners.follow import Follow
from runners.housekeeping import prune, tallied
from runners.launch import give_up_waiting, launch
from runners.models import Run
from runners.reconcile import SETTLING, places, reconcile

logger = logging.getLogger(__name__)

#: What Django raises where the database is away; InterfaceError (PEP 249: a connection that is closed already) is no DatabaseError.
AWAY = (DatabaseError, InterfaceError)

#: What it raises where it won't hold what one run brought: trouble of that run alone.
NOT_STORABLE = (DataError, IntegrityError)

POLL_SECONDS = 0.3  # how soon a run that another process recorded or launched is seen, without news from the backend
LOOK_SECONDS = 2.0  # every run is looked at this often even without news
ARCHIVE_SECONDS = 30.0
PRUNE_SECONDS = 3600.0
GIVE_UP_SECONDS = 10.0  # how late a run that waits for too long may be ended
RECONCILE_SECONDS, RECONCILE_REST_SECONDS = 600.0, 15.0  # usually; and at least between two passes, however often one is wanted
BACKENDS_SECONDS = 30.0  # how soon runs of a backend that is no longer the configured one are seen
UNTIDIED_SECONDS = 30.0  # how soon what a killed watcher left of an ended run is seen
REST_SECONDS = 1.0  # how long launching rests when there is no room or the backend is away, unless a run ends
LEAVE_SECONDS = 2.0  # how long what was begun (a launch, a file for the archive) may take to end once `stop` was called
LAUNCHES = 50  # waiting runs looked at together
BATCH = 256  # pieces of work taken from the inbox before they are stored together


class Watcher:
    """Everything that one watching process holds."""

    def __init__(self, backend: Backend) -> None:
        self.backends = {backend.name: backend}
        self.me = leases.my_name()
        self.inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self.follows: dict[str, Follow] = {}
        self.launches = ThreadPoolExecutor(1, "launch")
        self.calls = ThreadPoolExecutor(4, "call")
        self.launching: Future[None] | None = None
        self.archiving: Future[None] | None = None
        self.reconciling: Future[None] | None = None
        self.reconciled = 0.0  # time.monotonic() when the last pass began
        self.pruning: Future[None] | None = None
        self.rest_until = 0.0
        self.put_off: dict[int, int] = {}  # how often a waiting run could not be launched
        self.due: dict[str, float] = {}
        self.stopping = threading.Event()

    def watch_forever(self) -> None:
        """Work until `stop` is called; survives a database or backend that is away for a while."""
        for backend in self.backends.values():
            self._listen(backend)
        while not self.stopping.is_set():
            try:
                self.watch_once()
            except AWAY as error:
                logger.warning("the database does not answer: %s", error)
                for follow in list(self.follows.values()):
                    self._drop(follow)  # made anew from their rows; nothing else is lost
                connection.close()
                self.stopping.wait(1)
        self._leave()

    def stop(self) -> None:
        """End `watch_forever` soon; running builds go on. Safe to call from a signal handler."""
        self.stopping.set()

    def watch_once(self, timeout: float = 0.1) -> None:
        """Do what is due, then handle what the inbox holds, waiting for it up to `timeout` seconds."""
        self._keep_leases()  # first: who was stopped for a while has lost them
        if self._due("backends", BACKENDS_SECONDS):
            self._watch_others()
        if self._due("poll", POLL_SECONDS):
            self._poll()
        if self._due("look", LOOK_SECONDS):
            self._each(Follow.look)
        if self._due("give up", GIVE_UP_SECONDS):
            give_up_waiting()
        if self._due("archive", ARCHIVE_SECONDS):
            self._archive()
        if self._due("prune", PRUNE_SECONDS) and (self.pruning is None or self.pruning.done()):
            self.pruning = self.calls.submit(self._prune)
        if self._due("untidied", UNTIDIED_SECONDS):
            self._look_for_untidied()
        if (self.reconciling is None or self.reconciling.done()) and self._due("reconcile", RECONCILE_SECONDS):
            self._reconcile()
        self._handle(timeout)

    def _due(self, what: str, seconds: float) -> bool:
        now = time.monotonic()
        if now < self.due.get(what, 0):
            return False
        self.due[what] = now + seconds
        return True

    def _handle(self, timeout: float) -> None:
        """Call what the inbox holds, then store what streams brought: a quiet line at once, a loud build in batches."""
        try:
            work = self.inbox.get(timeout=timeout)
            for _ in range(BATCH):
                self._call(work)
                work = self.inbox.get_nowait()
            self._call(work)
        except queue.Empty:
            pass
        self._each(Follow.flush)
        self._forget()

    def _call(self, work: Callable[[], None]) -> None:
        owner = getattr(getattr(work, "func", None), "__self__", None)
        if isinstance(owner, Follow):
            if self.follows.get(owner.spec.run_uid) is owner:
                self._guarded(owner, work)
        else:
            work()

    def _each(self, work: Callable[[Follow], None]) -> None:
        """Do it for every followed run. With hundreds of them on a busy machine that takes longer than a lease lasts."""
        for follow in list(self.follows.values()):
            self._keep_leases()
            if not follow.done:
                self._guarded(follow, partial(work, follow))

    def _guarded(self, follow: Follow, work: Callable[[], None]) -> None:
        """Work for one run; what goes wrong with it does not stop the others."""
        try:
            work()
        except StaleWriter:
            logger.warning("run %s: another watcher stores its output", follow.run.name)
            self._drop(follow)
        except Exception as error:
            if isinstance(error, AWAY) and not isinstance(error, NOT_STORABLE):
                raise
            logger.exception("run %s: dropped, and taken up again from its row", follow.run.name)
            self._drop(follow)

    def _drop(self, follow: Follow) -> None:
        follow.done = True
        follow.ahead.release()  # its stream may be waiting; it sees `done` and ends
        if self.follows.get(follow.spec.run_uid) is follow:
            del self.follows[follow.spec.run_uid]

    def _forget(self) -> None:
        finished = [follow for follow in self.follows.values() if follow.done]
        for follow in finished:
            self._drop(follow)
        if finished:
            self.due["archive"] = self.due["poll"] = self.rest_until = 0  # their output can be archived, their places are free

    # Rows

    def _watch_others(self) -> None:
        """See to runs that were recorded for another backend, before the configuration changed."""
        others = Run.objects.active().filter(backend__in=BACKENDS).exclude(backend__in=list(self.backends))
        for name in others.order_by().values_list("backend", flat=True).distinct():
            try:
                self.backends[name] = backend_named(name)
                self._listen(self.backends[name])
            except Exception:
                logger.exception("there are runs of backend %s, which can't be watched", name)

    def _poll(self) -> None:
        """Take up launched runs that nobody follows, and launch what waits."""
        close_old_connections()
        places, followed = {backend.place for backend in self.backends.values()}, {f.run.pk for f in self.follows.values()}
        for run in leases.take(self.me, self.backends, places, followed):
            self._keep_leases()
            if run.uid not in self.follows:
                self._take_up(run)
            if run.cancel_requested_at and (follow := self.follows.get(run.uid or "")):
                self._guarded(follow, partial(follow.cancel, run))
        if (self.launching is None or self.launching.done()) and time.monotonic() > self.rest_until:
            waiting = self._waiting()
            if waiting:
                self.launching = self.launches.submit(self._launch, waiting)

    def _waiting(self) -> list[Run]:
        """What to launch next: in fair order, behind those that were tried less often, so that none keeps the others back."""
        mine = Run.objects.filter(backend__in=list(self.backends)).in_fair_order()
        # Only keys: ordering whole rows takes several times as long.
        keys = list(mine.values_list("pk", flat=True)[: LAUNCHES + len(self.put_off)])
        self.put_off = {key: self.put_off[key] for key in keys if key in self.put_off}
        keys = sorted(keys, key=lambda key: self.put_off.get(key, 0))[:LAUNCHES]
        found = Run.objects.select_related("event__repository").in_bulk(keys)
        return [found[key] for key in keys if key in found]

    def _take_up(self, run: Run) -> None:
        if run.event is None:  # another tool deleted it; there is nothing to follow the build for
            self._reconcile_soon()
            return
        try:
            follow = Follow(run, self.backends[run.backend], self.inbox, self.calls)
        except AWAY:
            raise
        except Exception:
            logger.exception("run %s can't be taken up", run.name)
            return
        self.follows[follow.spec.run_uid] = follow
        self._guarded(follow, follow.look)

    def _launch(self, waiting: list[Run]) -> None:
        """In a thread of its own: launch in this order, until there is no room or the backend is away."""
        try:
            for run in waiting:
                if self.stopping.is_set():
                    return
                claims = run.epoch
                if launch(run, self.me, in_turn=True).status == Run.WAITING:
                    if run.epoch != claims:  # there was room: it is the backend that could not take it
                        self.put_off[run.pk] = self.put_off.get(run.pk, 0) + 1
                    self.rest_until = time.monotonic() + REST_SECONDS
                    return
        except Exception as error:
            if isinstance(error, AWAY):
                logger.warning("launching: the database does not answer: %s", error)
            else:
                logger.exception("launching")
            self.inbox.put(self._reconcile_soon)  # a launch that came too late may not have been taken back
            self.rest_until = time.monotonic() + REST_SECONDS
        finally:
            close_old_connections()
            self.inbox.put(partial(self.due.__setitem__, "poll", 0.0))

    def _keep_leases(self) -> None:
        if self._due("renew", leases.RENEW_SECONDS):
            self._renew()

    def _renew(self) -> None:
        lost = leases.renew(self.me, [follow.run.pk for follow in self.follows.values()])
        for follow in [follow for follow in self.follows.values() if follow.run.pk in lost]:
            logger.warning("run %s: its lease was lost", follow.run.name)
            self._drop(follow)

    def _archive(self) -> None:
        if self.archiving is None or self.archiving.done():
            self.archiving = self.calls.submit(self._archive_closed)

    def _archive_closed(self) -> None:
        """In a thread of its own: move finished output to the storage; what can't be moved stays and is tried again."""
        try:
            for output in Output.objects.to_archive()[:100]:
                if self.stopping.is_set():
                    return
                try:
                    archive(output)
                except ArchiveError as error:  # of one, perhaps: the others need not wait behind it
                    logger.warning("%s; it stays in the database and is tried again", error)
        except AWAY as error:
            logger.warning("archiving: the database does not answer: %s", error)
        except Exception:
            logger.exception("archiving")
        finally:
            close_old_connections()

    def _prune(self) -> None:
        """In a thread of its own: remove what is no longer to be kept."""
        try:
            for tally in tallied(prune(timezone.now(), go_on=lambda: not self.stopping.is_set())):
                logger.info("removed: %s", tally)
        except AWAY as error:
            logger.warning("the database does not answer: %s; what is left is removed in an hour", error)
        except Exception:
            logger.exception("removing what is no longer to be kept")
        finally:
            close_old_connections()

    def _reconcile_soon(self) -> None:
        """Have a pass as soon as the last one began RECONCILE_REST_SECONDS ago."""
        self.due["reconcile"] = min(self.due.get("reconcile", 0), self.reconciled + RECONCILE_REST_SECONDS)

    def _look_for_untidied(self) -> None:
        """A watcher that died after an outcome left a Secret or a folder behind: that is not for the next regular pass to find.

        What can't be tidied is tried so often only for as long as passes are apart.
        """
        now = timezone.now()
        recent = Run.objects.to_tidy().filter(finished_at__range=(now - timedelta(seconds=RECONCILE_SECONDS), now - SETTLING))
        if recent.filter(backend__in=list(self.backends)).here({backend.place for backend in self.backends.values()}).exists():
            self._reconcile_soon()

    def _reconcile(self) -> None:
        self.reconciled = time.monotonic()
        self.reconciling = self.calls.submit(self._reconcile_all, dict(self.backends))

    def _reconcile_all(self, backends: dict[str, Backend]) -> None:
        """In a thread of its own: put right what differs between rows and backends."""
        try:
            for backend in ({place.name: place for place in places()} | backends).values():
                try:
                    reconcile(backend, go_on=lambda: not self.stopping.is_set())
                except BackendError as error:
                    logger.warning("reconciling backend %s: %s", backend.name, error)
        except AWAY as error:
            logger.warning("reconciling: the database does not answer: %s", error)
        except Exception:
            logger.exception("reconciling")
        finally:
            close_old_connections()

    # News

    def _listen(self, backend: Backend) -> None:
        logger.info("watching backend %s as %s", backend.name, self.me)
        threading.Thread(target=self._news, args=(backend,), name=f"news-{backend.name}", daemon=True).start()

    def _news(self, backend: Backend) -> None:
        """In a thread of its own: wait for the backend's news."""
        while not self.stopping.is_set():
            try:
                changed = backend.changes(1.0)
            except Exception:
                logger.exception("waiting for news of backend %s", backend.name)
                self.stopping.wait(1)
                continue
            if changed is None or changed:
                self.inbox.put(partial(self._changed, changed))

    def _changed(self, changed: set[str] | None) -> None:
        if changed is None:
            self._reconcile_soon()  # the backend was away, or this is the first look
        if changed is None or not changed <= self.follows.keys():
            self.due["poll"] = 0  # news of a run that is not followed: it may just have been launched
        self._each(lambda follow: follow.look() if changed is None or follow.spec.run_uid in changed else None)

    def _leave(self) -> None:
        for follow in list(self.follows.values()):
            self._drop(follow)
        self.launches.shutdown(wait=False, cancel_futures=True)
        self.calls.shutdown(wait=False, cancel_futures=True)
        begun = (self.launching, self.archiving, self.pruning, self.reconciling)
        wait([future for future in begun if future], LEAVE_SECONDS)
        try:
            leases.release(self.me)
        except AWAY as error:
            logger.warning("leases stay until they lapse: %s", error)
        logger.info("stopped; running builds go on")
        for backend in self.backends.values():
            backend.close()
