"""How a web process of uWSGI ends: live outputs end so that their readers resume them, and what was begun is answered.

uWSGI calls `uwsgi.atexit` when SIGTERM, SIGINT or a reload has made the process take no further connection, and ends it as soon as
that returns. (Its own way to wait, at SIGHUP, writes every open URL with its query string into the log.)
"""

from __future__ import annotations

import logging
import time
from typing import Any

from logs.stream import HUB

log = logging.getLogger(__name__)

#: Seconds between two looks at what is still going on.
_POLL = 0.05
#: Before uWSGI loses patience (`worker-reload-mercy`), so many seconds are left to end without being killed.
_SPARE = 1.0


class Ending:
    """What is done once when this process has been told to stop."""

    def __init__(self, uwsgi: Any) -> None:
        self.uwsgi = uwsgi
        self.begun = False

    def __call__(self) -> None:
        """End live outputs; return when all requests have their answers, or before uWSGI loses patience."""
        if self.begun:  # uWSGI calls again when the last request is over
            return
        self.begun = True
        HUB.stop()
        until = time.monotonic() + float(self.uwsgi.opt.get("worker-reload-mercy", b"5")) - _SPARE
        while self._busy() and time.monotonic() < until:
            time.sleep(_POLL)
        if self._busy():
            log.warning("stopped in the middle of a request that took too long")

    def _busy(self) -> bool:
        """Whether a request has not had its whole answer yet."""
        mine = self.uwsgi.workers()[self.uwsgi.worker_id() - 1]
        return bool(mine["status"] == b"busy")
