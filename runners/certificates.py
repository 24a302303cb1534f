"""When the certificates that the portal trusts end: of `ca_secret`, and of git.ca_bundle."""

from __future__ import annotations

from datetime import datetime

from cryptography import x509

from runners.backends.base import Backend, BackendError, Unreachable


def expiry(pem: str) -> datetime | None:
    """When the first of these certificates ends, in UTC; None where there is none that can be read."""
    try:
        return min(certificate.not_valid_after_utc for certificate in x509.load_pem_x509_certificates(pem.encode()))
    except ValueError:
        return None


class Certificates:
    """What the backend has under names of `ca_secret`: each asked for once, and none any more once it can't be reached."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._known: dict[str, tuple[datetime | None, str]] = {}
        self._away = ""

    def look(self, name: str) -> tuple[datetime | None, str]:
        """When it ends, or why that is not known."""
        if name not in self._known:
            self._known[name] = (None, self._away) if self._away else self._ask(name)
        return self._known[name]

    def _ask(self, name: str) -> tuple[datetime | None, str]:
        try:
            pem = self._backend.certificate(name)
        except Unreachable as error:
            self._away = str(error)
            return None, self._away
        except BackendError as error:
            return None, str(error)
        return expiry(pem), ""
