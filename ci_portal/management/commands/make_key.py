"""`manage.py make_key`: print fresh keys for the configuration."""

from typing import Any

from cryptography.fernet import Fernet
from django.core.management.base import BaseCommand
from django.core.management.utils import get_random_secret_key


class Command(BaseCommand):
    """Print a new encryption key and a new Django key, ready for the environment."""

    help = "Print new values for CI_PORTAL_SECRETS__KEYS and CI_PORTAL_SECRETS__DJANGO_KEY."
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        """Write both as lines of an environment file."""
        self.stdout.write(f"CI_PORTAL_SECRETS__KEYS={Fernet.generate_key().decode()}")
        self.stdout.write(f"CI_PORTAL_SECRETS__DJANGO_KEY='{get_random_secret_key()}'")
