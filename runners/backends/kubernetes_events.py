"""What the cluster tells around the portal's Jobs and Pods: one watch of the namespace's Events, kept in memory by object.

Events may be lost and are gone after an hour: they explain, nothing is decided by their absence. Where they can't be listed or
watched, all else goes on without them.
"""

from __future__ import annotations

import logging
import random
import re
import threading
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import orjson
import urllib3
from urllib3.exceptions import HTTPError

from runners.backends.base import Notice
from runners.backends.kubernetes_api import Api, ApiError
from runners.backends.kubernetes_informer import Lost, lines

log = logging.getLogger(__name__)

_PAGE = "500"  # Events a list request, some 800 bytes each
_WATCH_SECONDS = 280  # the server ends a watch then
_SILENT_SECONDS = 120  # a bookmark comes every minute where nothing else does
_OBJECTS = 5000  # Jobs and Pods of which Events are remembered, those with the latest
_EACH = 50  # Events remembered of one object
_KINDS = ("Job", "Pod")

Dict = dict[str, Any]


class EventWatch:
    """Follows the Events of a namespace in a thread of its own, from `start` until `close`.

    `warned` is called with the uid of the Job or Pod that a warning is about.
    """

    def __init__(self, api: Api, namespace: str, warned: Callable[[str], None]) -> None:
        self.api, self._warned = api, warned
        self._path = f"/api/v1/namespaces/{namespace}/events"
        self._known: OrderedDict[str, dict[str, Notice]] = OrderedDict()  # by the object's uid, then by the Event's
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._open: urllib3.BaseHTTPResponse | None = None

    def start(self) -> None:
        """Begin to follow; harmless to call again."""
        with self._lock:
            if self._thread or self._closing.is_set():
                return
            self._thread = threading.Thread(target=self._follow, name="informer-event", daemon=True)
        self._thread.start()

    def of(self, *uids: str) -> tuple[Notice, ...]:
        """What is remembered of these objects, the oldest first."""
        with self._lock:
            found = [notice for uid in uids for notice in self._known.get(uid, {}).values()]
        return tuple(sorted(found, key=lambda notice: (notice.at, notice.since, notice.uid)))

    def close(self) -> None:
        """End the thread."""
        self._closing.set()
        if reply := self._open:
            try:
                reply.shutdown()
            except (ValueError, RuntimeError, OSError):  # it ended by itself meanwhile
                log.debug("the watch of Events had ended")
        if self._thread:
            self._thread.join(5)

    def _follow(self) -> None:
        wait, told = 1.0, ""
        while not self._closing.is_set():
            try:
                version = self._list()
                wait, told = 1.0, ""
                while not self._closing.is_set():
                    version = self._watch(version)
            except Lost as error:
                log.info("listing events again: %s", error)
            except (ApiError, HTTPError, OSError, ValueError) as error:
                if str(error) != told and not self._closing.is_set():
                    told = str(error)
                    log.warning("can't follow events, builds go on without them: %s", error)
            self._closing.wait(wait * random.uniform(0.5, 1.5))  # noqa: S311
            wait = min(wait * 2, 60.0)

    def _list(self) -> str:
        query = {"limit": _PAGE}
        while True:
            answer, _ = self.api.request("GET", self._path, query=query)
            for item in answer["items"]:
                self._take(item)
            query["continue"] = answer["metadata"].get("continue", "")
            if not query["continue"]:
                return str(answer["metadata"]["resourceVersion"])

    def _watch(self, version: str) -> str:
        query = {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(_WATCH_SECONDS),
        }
        try:
            reply = self.api.stream(self._path, query, _SILENT_SECONDS)
        except ApiError as error:
            raise (Lost(error.message) if error.status == 410 else error) from None
        self._open = reply
        try:
            if self._closing.is_set():
                return version
            for line in lines(reply):
                event = orjson.loads(line)
                if event["type"] == "ERROR":
                    raise Lost(event["object"].get("message", "the watch failed"))
                version = event["object"]["metadata"]["resourceVersion"]
                if event["type"] in ("ADDED", "MODIFIED"):  # one that is deleted is an hour old, and still true
                    self._take(event["object"])
        finally:
            self._open = None
            reply.close()
        return version

    def _take(self, item: Dict) -> None:
        about = item.get("involvedObject", {})
        uid = str(about.get("uid", ""))
        if about.get("kind") not in _KINDS or not uid:
            return
        notice = read(item)
        with self._lock:
            known = self._known.setdefault(uid, {})
            known[notice.uid] = notice
            self._known.move_to_end(uid)
            if len(known) > _EACH:
                del known[min(known, key=lambda key: known[key].at)]
            while len(self._known) > _OBJECTS:
                self._known.popitem(last=False)
        if notice.warning:
            self._warned(uid)


def read(item: Dict) -> Notice:
    """One Event, of either generation of the API: the newer one counts in `series` and has `eventTime`."""
    series = item.get("series") or {}
    moments = [_time(item.get(key)) for key in ("firstTimestamp", "eventTime")] + [_time(item["metadata"].get("creationTimestamp"))]
    since = next((moment for moment in moments if moment), datetime.now(UTC))
    about = item["involvedObject"]
    container = re.fullmatch(r"spec\.(?:initContainers|containers)\{(.+)\}", about.get("fieldPath") or "")
    return Notice(
        uid=str(item["metadata"]["uid"]),
        at=_time(series.get("lastObservedTime")) or _time(item.get("lastTimestamp")) or since,
        since=since,
        reason=str(item.get("reason") or ""),
        message=" ".join(str(item.get("message") or "").split()),
        about=container[1] if container else about["kind"].lower(),
        count=int(series.get("count") or item.get("count") or 1),
        warning=item.get("type") == "Warning",
    )


def _time(text: Any) -> datetime | None:
    return datetime.fromisoformat(text).astimezone(UTC) if text else None
