"""`manage.py watch`: the watcher's process."""

import signal
from typing import Any

from django.core.management.base import BaseCommand

from runners.backend import configured_backend
from runners.watcher import Watcher


class Command(BaseCommand):
    """Launch what waits, follow what runs, store output, settle outcomes; until SIGTERM or Ctrl-C."""

    help = "Launch waiting runs, follow running ones, store their output, settle their outcomes; several share the work."

    def handle(self, *args: Any, **options: Any) -> None:
        """Watch until told to stop."""
        watcher = Watcher(configured_backend())
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: watcher.stop())
        watcher.watch_forever()
