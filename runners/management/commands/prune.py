"""`manage.py prune`: remove what retention no longer keeps."""

import signal
import threading
from collections.abc import Iterable, Iterator
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from logs.retention import Expired
from runners.housekeeping import KINDS, Tally, prune, tallied

_NAMES = list(dict.fromkeys(kind.name for kind in KINDS))


class Command(BaseCommand):
    """Remove what is older or more than the configuration keeps. The watcher does the same every hour."""

    help = "Remove what `retention` and `output` in the configuration keep no longer; never what is active."

    def add_arguments(self, parser: CommandParser) -> None:
        """Whether to tell only, and of what."""
        parser.add_argument("--dry-run", action="store_true", help="say what would be removed, and remove nothing")
        parser.add_argument("--only", default="", help=f"kinds to look at, separated by commas: {', '.join(_NAMES)}")

    def handle(self, *args: Any, dry_run: bool, only: str, verbosity: int, **options: Any) -> None:
        """Remove, or tell, until all is done or SIGTERM or Ctrl-C comes."""
        kinds = [name.strip() for name in only.split(",") if name.strip()]
        if unknown := [name for name in kinds if name not in _NAMES]:
            raise CommandError(f"--only knows {', '.join(_NAMES)}, and no {unknown[0]!r}")
        stopping = threading.Event()
        before = {number: signal.signal(number, lambda *_: stopping.set()) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            gone = prune(timezone.now(), only=kinds, dry_run=dry_run, go_on=lambda: not stopping.is_set())
            found = tallied(self._told(gone) if verbosity > 1 else gone)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        for tally in found:
            self.stdout.write(str(tally))
        self.stdout.write(_sum(found, "Would be removed" if dry_run else "Removed"))
        if stopping.is_set():
            self.stdout.write("Stopped before the end; the next prune goes on.")

    def _told(self, gone: Iterable[Expired]) -> Iterator[Expired]:
        for item in gone:
            self.stdout.write(f"{item.kind} {item.name} ({item.why})")
            yield item


def _sum(found: list[Tally], what: str) -> str:
    counts = {name: sum(tally.count for tally in found if tally.kind == name) for name in _NAMES}
    told = ", ".join(f"{name} {count}" for name, count in counts.items() if count)
    return f"{what}: {told}; {sum(tally.size for tally in found)} bytes." if told else f"{what}: nothing."
