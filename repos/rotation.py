"""Re-encrypting the stored credentials with the first of `secrets.keys`, while everything else goes on.

Each row is written only where it still holds what was read, so that a credential which somebody sets meanwhile is never put back,
and a rotation that is killed has done a part of the work and nothing else: the next one goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from cryptography.fernet import Fernet, InvalidToken
from django.conf import settings
from django.db.models import QuerySet

from ci_portal.api.retry import in_transaction
from repos.credentials import cipher
from repos.models import Credential

#: Rows in one transaction: SQLite lets nobody else write meanwhile.
BATCH = 50


@dataclass(slots=True)
class Rotation:
    """What a rotation found and did; a credential counts once."""

    current: int = 0  # under the first key before
    rotated: int = 0  # re-encrypted, or with dry_run to be re-encrypted
    unreadable: list[str] = field(default_factory=list)  # whose credentials no configured key opens

    @property
    def total(self) -> int:
        """All stored credentials."""
        return self.current + self.rotated + len(self.unreadable)


def rotate(*, dry_run: bool = False, go_on: Callable[[], bool] = lambda: True) -> Rotation:
    """Bring every stored credential under the first key, in batches, until all are done or `go_on` says no."""
    done = Rotation()
    for batch in _batches(Credential.objects.order_by("pk")):
        if not go_on():
            break
        part = in_transaction(lambda batch=batch: _rotate_batch(batch, dry_run))
        done.current += part.current
        done.rotated += part.rotated
        done.unreadable += part.unreadable
    return done


def left_behind() -> int:
    """How many stored credentials the first key alone does not open."""
    first = _first_key()
    return sum(not _opens(first, text) for text in Credential.objects.values_list("ciphertext", flat=True).iterator(BATCH))


def _batches(rows: QuerySet[Credential]) -> Iterator[list[Credential]]:
    last = 0
    while batch := list(rows.filter(pk__gt=last).select_related("repository", "run")[:BATCH]):
        yield batch
        last = batch[-1].pk


def _rotate_batch(batch: list[Credential], dry_run: bool) -> Rotation:
    done, first = Rotation(), _first_key()
    for credential in batch:
        _rotate_one(credential, first, dry_run, done)
    return done


def _rotate_one(credential: Credential, first: Fernet, dry_run: bool, done: Rotation) -> None:
    if _opens(first, credential.ciphertext):
        done.current += 1
        return
    try:
        fresh = cipher().rotate(credential.ciphertext.encode()).decode()
    except InvalidToken:
        done.unreadable.append(_owner(credential))
        return
    if not dry_run and not Credential.objects.filter(pk=credential.pk, ciphertext=credential.ciphertext).update(ciphertext=fresh):
        return  # set anew or removed meanwhile; `left_behind` sees what an older key wrote
    done.rotated += 1


def _first_key() -> Fernet:
    return Fernet(settings.PORTAL.secrets.keys[0].get_secret_value())


def _opens(key: Fernet, ciphertext: str) -> bool:
    try:
        key.decrypt(ciphertext.encode())
    except InvalidToken:
        return False
    return True


def _owner(credential: Credential) -> str:
    whose = credential.repository.repo_name if credential.repository else f"run {credential.run_id}"
    return f"{credential.get_kind_display()} of {whose}"
