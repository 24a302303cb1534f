"""Credentials at rest: encrypted with the configured keys, written by name, read only to be used.

Fernet (AES-128-CBC with HMAC-SHA-256, https://github.com/fernet/spec) under `secrets.keys`: the first key encrypts, all
decrypt, so a key is rotated by putting a new one in front. A ciphertext that no key opens is an error, never handed on.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import timedelta
from functools import lru_cache
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.db.models import Q
from django.utils import timezone

from repos.models import Credential, Repository

#: How exact `Credential.used_at` is.
USE_NOTED_EVERY = timedelta(hours=1)


class CredentialUnreadable(Exception):
    """No configured key opens a stored credential."""


@dataclass(frozen=True, slots=True)
class GitLogin:
    """How to log in to a git remote: user and token for https, a private key for ssh; all "" for none."""

    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    ssh_key: str = field(default="", repr=False)

    def __bool__(self) -> bool:
        return bool(self.username or self.password or self.ssh_key)


@lru_cache(maxsize=4)
def _cipher(keys: tuple[str, ...]) -> MultiFernet:
    return MultiFernet([Fernet(key) for key in keys])


def cipher() -> MultiFernet:
    """The configured keys, ready for use."""
    return _cipher(tuple(key.get_secret_value() for key in settings.PORTAL.secrets.keys))


def encrypt(value: dict[str, str]) -> str:
    """Return the ciphertext of a small JSON object."""
    return cipher().encrypt(json.dumps(value).encode()).decode()


def decrypt(ciphertext: str, what: str) -> dict[str, str]:
    """Open a ciphertext. Raises CredentialUnreadable, naming `what`, where no key fits or it was changed."""
    try:
        value: dict[str, str] = json.loads(cipher().decrypt(ciphertext.encode()))
    except (InvalidToken, ValueError):
        raise CredentialUnreadable(
            f"the stored {what} can't be decrypted with any of secrets.keys: put the key that encrypted it back, or enter it anew"
        ) from None
    return value


def is_readable(credential: Credential) -> bool:
    """Whether a configured key opens it."""
    try:
        cipher().decrypt(credential.ciphertext.encode())
    except InvalidToken:
        return False
    return True


def store(kind: str, value: dict[str, str], **owner: Any) -> Credential:
    """Set the one credential of this kind that `repository=` or `run=` has."""
    credential, _ = Credential.objects.update_or_create(
        kind=kind, **owner, defaults={"ciphertext": encrypt(value), "created_at": timezone.now(), "used_at": None}
    )
    return credential


def store_git_login(repository: Repository, username: str, password: str) -> None:
    """Set the user and token for the repository's https remote."""
    store(Credential.GIT, {"username": username, "password": password}, repository=repository)


def git_login(repository: Repository) -> GitLogin:
    """The repository's git credentials. Raises CredentialUnreadable."""
    found = {credential.kind: credential for credential in repository.credentials.all()}
    login, key = found.get(Credential.GIT), found.get(Credential.SSH_KEY)
    opened = decrypt(login.ciphertext, f"git credentials of {repository.repo_name}") if login else {}
    secret = decrypt(key.ciphertext, f"deploy key of {repository.repo_name}") if key else {}
    return GitLogin(opened.get("username", ""), opened.get("password", ""), secret.get("key", ""))


def mark_used(repository: Repository) -> None:
    """Note that the repository's credentials were just used, to the hour: not every build must write a row more."""
    now = timezone.now()
    noted = Q(used_at__isnull=False, used_at__gt=now - USE_NOTED_EVERY)
    repository.credentials.exclude(noted).update(used_at=now)
