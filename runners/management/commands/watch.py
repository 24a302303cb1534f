"""`manage.py watch`: the watcher's process."""

import ctypes
import logging
import os
import signal
import sys
import threading
from contextlib import suppress
from typing import Any, NoReturn

from django.core.checks import Tags
from django.core.management.base import BaseCommand

from runners.backend import configured_backend
from runners.watcher import Watcher

logger = logging.getLogger(__name__)

#: Of mallopt(3): how many places to take memory from; bytes from which on a block is given back as soon as it is free.
M_ARENA_MAX, M_MMAP_THRESHOLD = -8, -3
#: Seconds after which the process is gone although something hangs; uWSGI and `manage.py dev` give it a little longer.
STOP_SECONDS = 3.5


class Command(BaseCommand):
    """Launch what waits, follow what runs, store output, settle outcomes; until SIGTERM or Ctrl-C."""

    requires_system_checks = [Tags.compatibility]  # the others import all views, for which the watcher has no other use
    help = "Launch waiting runs, follow running ones, store their output, settle their outcomes; several share the work."

    def handle(self, *args: Any, **options: Any) -> None:
        """Watch until told to stop. Does not return: it ends the process."""
        _keep_no_memory()
        watcher = Watcher(configured_backend())
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: watcher.stop())
        # In a thread of its own: this one sees signals also while that one waits for a database that is locked.
        failed = threading.Event()
        thread = threading.Thread(target=_watch, args=(watcher, failed), name="watcher", daemon=True)
        thread.start()
        while thread.is_alive() and not watcher.stopping.wait(1):
            pass
        thread.join(STOP_SECONDS)
        if thread.is_alive():
            logger.warning("stopped although something still waits for an answer; leases that are left lapse by themselves")
        _exit(1 if failed.is_set() else 0)


def _keep_no_memory() -> None:
    """Keep no memory that was needed once. glibc would, for each thread by itself and in ever larger blocks: 30 MB after three
    outputs of 57 MB."""
    with suppress(OSError, AttributeError):  # a C library without it
        library = ctypes.CDLL(None)
        library.mallopt(M_ARENA_MAX, 2)
        library.mallopt(M_MMAP_THRESHOLD, 256 << 10)


def _watch(watcher: Watcher, failed: threading.Event) -> None:
    try:
        watcher.watch_forever()
    except Exception:
        logger.exception("the watcher can't go on")
        failed.set()


def _exit(status: int) -> NoReturn:
    """End at once: Python itself would wait for every thread that waits for a registry or a cluster which does not answer."""
    sys.stdout.flush()
    logging.shutdown()
    os._exit(status)
