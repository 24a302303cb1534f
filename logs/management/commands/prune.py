"""`manage.py prune`: remove what retention no longer keeps."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser
from django.utils import timezone

from logs.retention import expired, prune


class Command(BaseCommand):
    """Remove finished output that is older or more than the configuration keeps. The watcher does the same every hour."""

    help = "Remove finished output beyond output.retention_days and output.retention_count; never of what still runs."

    def add_arguments(self, parser: CommandParser) -> None:
        """Whether to tell only."""
        parser.add_argument("--dry-run", action="store_true", help="say what would be removed, and remove nothing")

    def handle(self, *args: Any, dry_run: bool, **options: Any) -> None:
        """Remove, or tell."""
        kept = settings.PORTAL.output
        if not kept.retention_days and not kept.retention_count:
            self.stdout.write("Output is kept for ever: neither output.retention_days nor output.retention_count is set.")
        elif dry_run:
            found = {output.pk: output for output in expired(kept.retention_days, kept.retention_count, timezone.now())}
            for output in found.values():
                self.stdout.write(f"run {output.run_id}: {output.size} bytes, closed {output.closed_at:%Y-%m-%d %H:%M} UTC")
            self.stdout.write(f"{len(found)} outputs would be removed.")
        else:
            outputs, size = prune(kept.retention_days, kept.retention_count, timezone.now())
            self.stdout.write(f"{outputs} outputs removed, {size} bytes.")
