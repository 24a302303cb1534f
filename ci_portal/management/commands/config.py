"""`manage.py config`: print the effective configuration."""

import json
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand


class Command(BaseCommand):
    """Print what the portal runs with, as JSON; each secret is only shown as set or not set."""

    help = "Print the effective configuration as JSON, without secrets."
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        """Write the configuration to stdout."""
        self.stdout.write(json.dumps(settings.PORTAL.public(), indent=2, ensure_ascii=False))
