"""The portal itself as a Django app."""

from django.apps import AppConfig


class CiPortalConfig(AppConfig):
    """Registers the system checks."""

    name = "ci_portal"

    def ready(self) -> None:
        """Django collects checks by import."""
        from ci_portal import checks  # noqa: F401
