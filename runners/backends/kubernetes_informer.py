"""All Jobs and Pods of the portal in one namespace, kept current in memory: list, watch, and list again where history is lost.

Raw JSON lines through orjson (46,000 events a second; the library's typed watch did 2,900), trimmed to what
`reasons` looks at.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
import urllib3
from urllib3.exceptions import HTTPError

from runners.backends.kubernetes_api import Api, ApiError
from runners.backends.manifest import RUN_UID, SELECTOR

log = logging.getLogger(__name__)

_PAGE = "250"  # objects a list request: a Job carries its scripts, some 15 KB
_WATCH_SECONDS = 280  # the server ends a watch then; history lasts about 300
_SILENT_SECONDS = 120  # a bookmark comes every minute where nothing else does
_KEEP_SECONDS = 600  # what was deleted is remembered that long, so that its end can still be told
_TOGETHER_SECONDS = 0.05  # of news: a pod that starts changes six times in a moment, and looking at a run is dear
_OVERDUE_SECONDS = 5.0  # runs that have not started are announced this often, since waiting too changes what they are

Dict = dict[str, Any]


@dataclass(slots=True)
class Known:
    """What is known of one run; `gone` times are monotonic, 0 while the object exists."""

    job: Dict | None = None
    pod: Dict | None = None
    job_gone: float = 0.0
    pod_gone: float = 0.0
    created: float = 0.0
    announced: float = 0.0


class Lost(Exception):
    """The watch can't go on from where it was (410, or anything else unexpected): list again."""


class Informer:
    """Follows Jobs and Pods in two threads of its own, from `start` until `close`."""

    def __init__(self, api: Api, namespace: str) -> None:
        self.api = api
        self._errors: dict[str, tuple[str, datetime]] = {}  # by kind: why it can't be listed or watched, and since when (UTC)
        self._paths = {
            "job": f"/apis/batch/v1/namespaces/{namespace}/jobs",
            "pod": f"/api/v1/namespaces/{namespace}/pods",
        }
        self._changed = threading.Condition()
        self._known: dict[str, Known] = {}
        self._pending: set[str] = set()
        self._synced: set[str] = set()
        self._relisted = False
        self._closed = False
        self._swept = 0.0
        self._threads: list[threading.Thread] = []
        self._open: dict[str, urllib3.BaseHTTPResponse] = {}

    def start(self) -> None:
        """Begin to follow; harmless to call again."""
        with self._changed:
            if self._threads or self._closed:
                return
            for kind in self._paths:
                self._threads.append(threading.Thread(target=self._follow, args=(kind,), name=f"informer-{kind}", daemon=True))
        for thread in self._threads:
            thread.start()

    @property
    def started(self) -> bool:
        """Whether `start` was called."""
        return bool(self._threads)

    @property
    def error(self) -> str:
        """Why what is known is not current: the last attempt to list or watch failed; "" where all is well."""
        return next((error for error, _ in list(self._errors.values())), "")

    @property
    def as_of(self) -> datetime:
        """Until when what is known is current, UTC: now, where all is well."""
        return min((since for _, since in list(self._errors.values())), default=datetime.now(UTC))

    def wait_synced(self, timeout: float) -> bool:
        """Wait until Jobs and Pods were listed once."""
        with self._changed:
            return self._changed.wait_for(lambda: self._synced == set(self._paths) or self._closed, timeout)

    def get(self, run_uid: str) -> Known | None:
        """What is known of a run; None where nothing is."""
        with self._changed:
            return self._known.get(run_uid)

    def wait_for_change(self, run_uid: str, pod: Dict | None, timeout: float) -> None:
        """Wait until the run's pod is another than `pod`, as `get` returned it."""

        def other() -> bool:
            known = self._known.get(run_uid)
            return self._closed or known is None or known.pod is not pod or bool(known.pod_gone)

        with self._changed:
            self._changed.wait_for(other, timeout)

    def changes(self, timeout: float) -> set[str] | None:
        """Wait for news: the runs that changed or have waited long, None after a list. For one caller at a time.

        What changes within _TOGETHER_SECONDS is told together.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._pending or self._relisted or self._closed, timeout)
        if self._pending:
            time.sleep(_TOGETHER_SECONDS)
        with self._changed:
            overdue = self._sweep(time.monotonic())
            news, self._pending = self._pending, set()
            if self._relisted:
                self._relisted = False
                return None
            return news | overdue

    def announce_object(self, uid: str) -> None:
        """Make `changes` tell of the run whose Job or Pod has this uid: more is known of it than they say."""
        with self._changed:
            for run_uid, known in self._known.items():
                if any(item and item["metadata"]["uid"] == uid for item in (known.pod, known.job)):
                    self._pending.add(run_uid)
                    self._changed.notify_all()
                    return

    def close(self) -> None:
        """End both threads."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            replies = list(self._open.values())
        for reply in replies:
            try:
                reply.shutdown()
            except (ValueError, RuntimeError, OSError):  # it ended by itself meanwhile
                continue
        for thread in self._threads:
            thread.join(5)

    # What runs in the threads.

    def _follow(self, kind: str) -> None:
        wait = 0.2
        while not self._closed:
            try:
                version = self._list(kind)
                wait = 0.2
                while not self._closed:
                    version = self._watch(kind, version)
            except Lost as error:
                log.info("listing %ss again: %s", kind, error)
            except (ApiError, HTTPError, OSError, ValueError) as error:
                self._errors[kind] = (str(error), self._errors.get(kind, ("", datetime.now(UTC)))[1])
                if not self._closed:
                    log.warning("can't follow %ss: %s", kind, error)
            with self._changed:
                self._changed.wait_for(lambda: self._closed, wait * random.uniform(0.5, 1.5))  # noqa: S311
            wait = min(wait * 2, 5.0)

    def _list(self, kind: str) -> str:
        """Replace what is known by a fresh list; returns the version to watch from."""
        found: dict[str, Dict] = {}
        query = {"labelSelector": SELECTOR, "limit": _PAGE}
        while True:
            answer, _ = self.api.request("GET", self._paths[kind], query=query)
            for item in answer["items"]:
                uid = item["metadata"].get("labels", {}).get(RUN_UID)
                if uid and (uid not in found or _newer(item, found[uid])):
                    found[uid] = _TRIM[kind](item)
            query["continue"] = answer["metadata"].get("continue", "")
            if not query["continue"]:
                break
        with self._changed:
            for uid, known in self._known.items():
                if uid not in found and getattr(known, kind) is not None:
                    self._forget(known, kind)
            for uid, item in found.items():
                self._store(uid, kind, item)
            self._synced.add(kind)
            self._errors.pop(kind, None)
            self._relisted = self._synced == set(self._paths)
            self._changed.notify_all()
        return str(answer["metadata"]["resourceVersion"])

    def _watch(self, kind: str, version: str) -> str:
        """Follow until the server ends the watch; returns the version to go on from. Raises Lost."""
        query = {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "labelSelector": SELECTOR,
            "resourceVersion": version,
            "timeoutSeconds": str(_WATCH_SECONDS),
        }
        try:
            reply = self.api.stream(self._paths[kind], query, _SILENT_SECONDS)
        except ApiError as error:
            raise (Lost(error.message) if error.status == 410 else error) from None
        self._open[kind] = reply
        try:
            if self._closed:  # since the request was sent; `close` could not end this one
                return version
            for line in lines(reply):
                event = orjson.loads(line)
                if event["type"] == "ERROR":
                    raise Lost(event["object"].get("message", "the watch failed"))
                version = event["object"]["metadata"]["resourceVersion"]
                if event["type"] != "BOOKMARK":
                    self._take(kind, event["type"], event["object"])
        finally:
            self._open.pop(kind, None)
            reply.close()
        return version

    def _take(self, kind: str, what: str, item: Dict) -> None:
        uid = item["metadata"].get("labels", {}).get(RUN_UID)
        if not uid:
            return
        with self._changed:
            known = self._known.get(uid)
            present = getattr(known, kind) if known else None
            if present and present["metadata"]["uid"] != item["metadata"]["uid"] and not _newer(item, present):
                return
            self._store(uid, kind, _TRIM[kind](item))
            if what == "DELETED":
                self._forget(self._known[uid], kind)
            self._pending.add(uid)
            self._changed.notify_all()

    # What needs the lock held.

    def _store(self, uid: str, kind: str, item: Dict) -> None:
        known = self._known.setdefault(uid, Known(created=time.monotonic()))
        setattr(known, kind, item)
        setattr(known, f"{kind}_gone", 0.0)

    def _forget(self, known: Known, kind: str) -> None:
        setattr(known, f"{kind}_gone", getattr(known, f"{kind}_gone") or time.monotonic())

    def _sweep(self, now: float) -> set[str]:
        """Drop what has been gone for long; return the runs that have waited long enough to be looked at again."""
        if now < self._swept + 1:
            return set()
        self._swept = now
        for uid in [uid for uid, known in self._known.items() if known.job_gone and known.job_gone + _KEEP_SECONDS < now]:
            del self._known[uid]
        overdue = set()
        for uid, known in self._known.items():
            waits = not known.job_gone and not _running(known.pod) and known.created + 2 < now
            if waits and known.announced + _OVERDUE_SECONDS < now:
                known.announced = now
                overdue.add(uid)
        return overdue


def lines(reply: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
    """The lines of a streamed answer, each as soon as it is complete."""
    rest = b""
    while data := reply.read1(1 << 16):
        *complete, rest = (rest + data).split(b"\n")
        yield from complete


def _running(pod: Dict | None) -> bool:
    """Whether a container of it runs now; then what comes next comes as an event."""
    status = (pod or {}).get("status", {})
    if status.get("phase") in ("Succeeded", "Failed"):
        return True
    statuses = [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]
    return any("running" in container.get("state", {}) for container in statuses)


def _newer(item: Dict, than: Dict) -> bool:
    return str(item["metadata"].get("creationTimestamp", "")) > str(than["metadata"].get("creationTimestamp", ""))


def _pick(source: Dict, *keys: str) -> Dict:
    return {key: source[key] for key in keys if key in source}


def trim_job(job: Dict) -> Dict:
    """What `reasons` looks at of a Job."""
    return {
        "metadata": _pick(job["metadata"], "name", "uid", "creationTimestamp", "deletionTimestamp", "labels"),
        "spec": _pick(job.get("spec", {}), "suspend", "activeDeadlineSeconds"),
        "status": _pick(job.get("status", {}), "startTime", "conditions"),
    }


def trim_pod(pod: Dict) -> Dict:
    """What `reasons` and the output's follower look at of a Pod."""
    status = pod.get("status", {})
    trimmed = _pick(status, "phase", "reason", "message", "conditions")
    for kind in ("initContainerStatuses", "containerStatuses"):
        if kind in status:
            trimmed[kind] = [_pick(container, "name", "image", "state", "restartCount") for container in status[kind]]
    keys = ("name", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds")
    return {"metadata": _pick(pod["metadata"], *keys), "status": trimmed}


_TRIM = {"job": trim_job, "pod": trim_pod}
