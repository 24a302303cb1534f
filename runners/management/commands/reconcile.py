"""`manage.py reconcile`: compare rows and builds, and put right what differs."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser, no_translations

from runners.backends.base import Backend, BackendError
from runners.reconcile import Finding, find, places, reconcile


class Command(BaseCommand):
    """Tell, and unless --dry-run put right, what differs between the rows and what the backends hold."""

    help = "Compare runs with what the backends hold of builds, and put right what differs; the watcher does the same now and then."

    def add_arguments(self, parser: CommandParser) -> None:
        """See BaseCommand."""
        parser.add_argument("--dry-run", action="store_true", help="only tell what would be done")

    @no_translations
    def handle(self, *args: Any, **options: Any) -> None:
        """Go through all backends that have runs. Raises CommandError, in the end, where not all went well."""
        found: list[Finding] = []
        away: list[str] = []
        for backend in places():
            try:
                found += self._findings(backend, dry_run=options["dry_run"])
            except BackendError as error:
                away.append(f"backend {backend.name}: {error}")
        if found or not away:
            self.stdout.write(_summary(found, dry_run=options["dry_run"]))
        if away:
            raise CommandError(" ".join(away))
        if any(finding.problem for finding in found):
            raise CommandError("Not everything could be put right.")

    def _findings(self, backend: Backend, *, dry_run: bool) -> list[Finding]:
        found = find(backend) if dry_run else reconcile(backend, "manage.py reconcile")
        for finding in found:
            self.stdout.write(str(finding))
        return found


def _summary(found: list[Finding], *, dry_run: bool) -> str:
    if not found:
        return "Everything matches."
    ours = [each for each in found if each.is_put_right]
    undone = sum(bool(each.problem) for each in ours)
    done = f"{len(ours)} would be put right" if dry_run else f"{sum(each.done for each in ours)} put right, {undone} could not be"
    return f"{len(found)} found: {done}, {len(found) - len(ours)} left to the watcher."
