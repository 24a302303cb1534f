"""`manage.py rotate_keys`: bring all stored credentials under the first of `secrets.keys`."""

import signal
import threading
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from repos.rotation import Rotation, left_behind, rotate


class Command(BaseCommand):
    """Re-encrypt while the portal runs; safe to kill, and to run again."""

    help = (
        "Re-encrypt stored credentials with the first of secrets.keys. Start every process of the portal with the new key first:"
        " one that does not know it yet could not read what is re-encrypted."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Whether to tell only."""
        parser.add_argument("--dry-run", action="store_true", help="say what would be re-encrypted, and change nothing")

    def handle(self, *args: Any, dry_run: bool, **options: Any) -> None:
        """Re-encrypt until all is done or SIGTERM or Ctrl-C comes. Raises CommandError where an older key is still needed."""
        stopping = threading.Event()
        before = {number: signal.signal(number, lambda *_: stopping.set()) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            done = rotate(dry_run=dry_run, go_on=lambda: not stopping.is_set())
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        self.stdout.write(_told(done, dry_run))
        if stopping.is_set():
            raise CommandError("Stopped before the end; run it again to go on. No key can be removed yet.")
        if done.unreadable:
            names = "\n  ".join(done.unreadable)
            raise CommandError(
                f"None of secrets.keys opens these: put the key that encrypted them back, or enter them anew.\n  {names}"
            )
        if not dry_run:
            self._say_what_can_go()

    def _say_what_can_go(self) -> None:
        if behind := left_behind():
            raise CommandError(
                f"{behind} credentials were written with an older key meanwhile: restart every process of the portal with the new"
                " key first, then run this again. No key can be removed yet."
            )
        older = len(settings.PORTAL.secrets.keys) - 1
        if older:
            self.stdout.write(
                f"No stored credential needs the other {older} of secrets.keys any more. Remove {'it' if older == 1 else 'them'}"
                " once all processes run with this list, and keep a copy for as long as you keep backups of the database."
            )


def _told(done: Rotation, dry_run: bool) -> str:
    did = "would be re-encrypted" if dry_run else "re-encrypted"
    return f"Of {done.total} credentials, {done.rotated} {did}, {done.current} were under the first key already."
