"""What a write to `/repo/` does to the credentials that are stored for the repository."""

from __future__ import annotations

from dataclasses import dataclass, field

from ci_portal.api.problems import Problem
from repos import urls
from repos.credentials import CredentialUnreadable, GitLogin, git_login, store, store_git_login
from repos.errors import InvalidUrl
from repos.models import Credential, Repository


@dataclass(frozen=True, slots=True)
class Sent:
    """What a request says about credentials: None leaves one as it is, "" removes it."""

    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    ssh_key: str | None = field(default=None, repr=False)


def same_place(one: str, other: str) -> bool:
    """Whether two git URLs lead to the same server: what was given for the one may be sent to the other."""
    if one == other:
        return True
    try:
        here, there = urls.parts(one), urls.parts(other)
    except InvalidUrl:
        return False
    return (here.scheme, here.host, here.port) == (there.scheme, there.host, there.port)


def apply(repository: Repository, sent: Sent, *, moved: bool) -> list[str]:
    """Store and remove what the request says; returns what changed, in words. The caller holds the transaction.

    `moved`: the URL leads to another server now, so what was stored is dropped rather than sent there. Raises Problem where a
    half of a login was sent and the other, stored half can't be read.
    """
    stored = set(repository.credentials.values_list("kind", flat=True))
    changes: list[str] = []
    login = _login(repository, sent, keep=not moved and Credential.GIT in stored)
    if login is not None and (login.username or login.password):
        store_git_login(repository, login.username, login.password)
        changes.append(f"git credentials {'replaced' if Credential.GIT in stored else 'set'}")
    elif Credential.GIT in stored and (moved or login is not None):
        repository.credentials.filter(kind=Credential.GIT).delete()
        changes.append("git credentials removed")
    if sent.ssh_key:
        store(Credential.SSH_KEY, {"key": sent.ssh_key}, repository=repository)
        changes.append(f"deploy key {'replaced' if Credential.SSH_KEY in stored else 'set'}")
    elif Credential.SSH_KEY in stored and (moved or sent.ssh_key is not None):
        repository.credentials.filter(kind=Credential.SSH_KEY).delete()
        changes.append("deploy key removed")
    return changes


def _login(repository: Repository, sent: Sent, *, keep: bool) -> GitLogin | None:
    """The login to have now, None where the request says nothing of it; the half that it does not name is the stored one."""
    if sent.username is None and sent.password is None:
        return None
    if not keep or (sent.username is not None and sent.password is not None):
        return GitLogin(sent.username or "", sent.password or "")
    try:
        old = git_login(repository)
    except CredentialUnreadable as error:
        raise Problem(409, "credentials_unreadable", f"{error}. Send git_user and git_token together.") from None
    return GitLogin(
        old.username if sent.username is None else sent.username, old.password if sent.password is None else sent.password
    )
