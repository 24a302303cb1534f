"""Asking git remotes: which commit a branch or tag is, which refs there are, what a commit holds.

Refs are asked for by `smart_http` where that goes; all else, and explaining what went wrong, is git's. The only importer of
GitPython. git runs in a scratch folder of its own, with nothing of the machine's or a user's configuration, for https and ssh only,
to addresses that were judged before (`repos.addresses`), without following redirects, under limits of time and size. A credential
reaches it through a configuration file of mode 0600 in that folder: never in a URL, an argument or the environment.
"""

from __future__ import annotations

import difflib
import os
import re
import selectors
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Literal
from urllib.parse import quote
from weakref import WeakValueDictionary

from git.cmd import Git

from ci_portal.api.connections import release_connection
from repos import git_failures, refs, smart_http, urls
from repos.addresses import allowed_addresses, check_host
from repos.credentials import GitLogin
from repos.errors import (
    AddressRefused,
    CredentialsRefused,
    GitError,
    GitTimeout,
    HostUnreachable,
    InvalidUrl,
    Redirected,
    RefNotFound,
    RepositoryNotFound,
    TooLarge,
    UnknownCertificate,
    UnknownHostKey,
)
from repos.git_environment import environment, inherited
from repos.git_tree import problem_with

__all__ = [
    "AddressRefused",
    "CredentialsRefused",
    "GitError",
    "GitTimeout",
    "HostUnreachable",
    "InvalidUrl",
    "Problem",
    "Redirected",
    "RefNotFound",
    "Refs",
    "Remote",
    "RepositoryNotFound",
    "Resolved",
    "TooLarge",
    "UnknownCertificate",
    "UnknownHostKey",
    "Wanted",
    "list_refs",
    "look_inside",
    "resolve",
]

#: Seconds for one `ls-remote`, from start to end.
LS_REMOTE_SECONDS = 15.0
#: Seconds for the fetch and for each look at what it brought.
FETCH_SECONDS = 60.0
#: Bytes that `look_inside` may store, and that any command may print.
FETCH_BYTES = 128 * 1024 * 1024
OUTPUT_BYTES = 32 * 1024 * 1024
#: How many questions one process has open at one host, and how many seconds one waits for its turn: each is a git process of its
#: own, and a hundred at once would keep each other, and the portal, from being done in time.
AT_ONCE = 8
TURN_SECONDS = 60.0
_NOT_SERVED = "git_commit_not_served"
_ERROR_BYTES = 64 * 1024
_PIECE_BYTES = 64 * 1024
#: Seconds between two looks at the size of the scratch folder.
_LOOK_SECONDS = 0.25
#: The first git that knows http.curloptResolve; an older one would ignore it and dial whatever the name resolves to.
_OLDEST_GIT = (2, 37)
_turns: WeakValueDictionary[str, threading.BoundedSemaphore] = WeakValueDictionary()  # of the hosts that are being asked
_turns_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class Remote:
    """A repository elsewhere and how to log in to it."""

    url: str = field(repr=False)  # better without a credential; one in it is taken out and used where `login` is empty
    login: GitLogin = field(default_factory=GitLogin)
    ca_pem: str = ""  # certificates trusted for this remote besides the system's and git.ca_bundle


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a branch or tag was at the moment of asking."""

    ref: str  # refs/heads/… or refs/tags/…; HEAD where it points to no branch
    commit: str  # full object id


@dataclass(frozen=True, slots=True)
class Refs:
    """Short names and the commits that they stand for."""

    default: str  # branch that HEAD points to, "" where it points to none
    branches: dict[str, str]
    tags: dict[str, str]


#: A path to look for: wire name of its field, path in the checkout, and what it must be.
Wanted = tuple[str, str, Literal["file", "directory"]]
#: Wire name of the field, and a sentence.
Problem = tuple[str, str]


def resolve(remote: Remote, branch: str = "", tag: str = "", seconds: float = LS_REMOTE_SECONDS) -> Resolved:
    """Ask the remote which commit `tag` is, else `branch`, else its HEAD: one question, others only to explain a failure.

    Raises GitError and its subclasses; RefNotFound names the field `branch` or `tag`.
    """
    name, kind = (tag, "tag") if tag else (branch, "branch")
    ref = f"refs/{'tags' if tag else 'heads'}/{name}" if name else "HEAD"
    _check_name(name, kind)
    if (known := _over_https(remote, [ref], seconds)) and (resolved := _resolved(ref, *known)):
        return resolved
    options, patterns = (["--tags"], [ref, f"{ref}^{{}}"]) if tag else (["--heads"] if name else ["--symref"], [ref])
    with _session(remote) as session:
        resolved = _resolved(ref, *session.ls_remote(options, patterns, seconds))
        if not resolved:
            raise _missing(session, name, kind, seconds)
    return resolved


def _resolved(ref: str, found: dict[str, str], head: str) -> Resolved | None:
    """What the ref is, of an annotated tag the commit, not the tag object; None where it is not there."""
    commit = found.get(f"{ref}^{{}}") or found.get(ref, "")
    return Resolved(head or ref if ref == "HEAD" else ref, commit) if commit else None


def list_refs(remote: Remote, seconds: float = LS_REMOTE_SECONDS) -> Refs:
    """Ask the remote for its branches and tags (annotated ones by the commit they lead to). Raises GitError and its subclasses."""
    if known := _over_https(remote, ["HEAD", "refs/heads/", "refs/tags/"], seconds):
        return _listed(*known)
    with _session(remote) as session:
        return session.list_refs(seconds)


def _listed(found: dict[str, str], head: str) -> Refs:
    branches = {name.removeprefix("refs/heads/"): value for name, value in found.items() if name.startswith("refs/heads/")}
    tags = {name.removeprefix("refs/tags/"): value for name, value in found.items() if name.startswith("refs/tags/")}
    peeled = {name.removesuffix("^{}"): value for name, value in tags.items() if name.endswith("^{}")}
    plain = {name: value for name, value in tags.items() if not name.endswith("^{}")}
    return Refs(head.removeprefix("refs/heads/"), branches, {**plain, **peeled})


def look_inside(remote: Remote, resolved: Resolved, paths: list[Wanted], seconds: float = FETCH_SECONDS) -> list[Problem]:
    """Say which of `paths` are not in the commit as what they must be; symlinks are followed as far as they stay inside.

    Fetches the commit's trees into a scratch folder, without files where the server can leave them out, and symlinks as needed.
    Raises GitError and its subclasses where the remote can't be asked.
    """
    problems = []
    with _session(remote) as session:
        session.fetch(resolved, seconds)
        for name, path, kind in paths:
            message = problem_with(
                path,
                kind,
                f"commit {resolved.commit[:12]}",
                lambda path: session.entry(resolved.commit, path, seconds),
                lambda object_id: session.link(object_id, seconds),
            )
            if message:
                problems.append((name, message))
    return problems


class _Session:
    """One remote, asked from one scratch folder."""

    def __init__(self, folder: Path, url: str, host: str, login: GitLogin, environment: dict[str, str]) -> None:
        self._folder = folder
        self._url = url
        self._host = host
        self._login = login
        self._environment = environment

    def ls_remote(self, options: list[str], patterns: list[str], seconds: float) -> tuple[dict[str, str], str]:
        """The refs that match, by full name, and the branch that HEAD points to (with --symref), "" where unknown."""
        output = self._git(["ls-remote", *options, "--", self._url, *patterns], seconds)
        found: dict[str, str] = {}
        head = ""
        for line in output.decode("utf-8", "replace").splitlines():
            value, _, name = line.partition("\t")
            if refs.OBJECT_ID.fullmatch(value):
                found[name] = value
            elif name == "HEAD":
                head = value.removeprefix("ref: ")
        return found, head if _is_branch(head) else ""

    def list_refs(self, seconds: float) -> Refs:
        """All branches and tags."""
        return _listed(*self.ls_remote(["--symref"], ["HEAD", "refs/heads/*", "refs/tags/*"], seconds))

    def fetch(self, resolved: Resolved, seconds: float) -> None:
        """Bring the commit and its trees into the scratch folder."""
        self._git(["init", "--quiet", "--bare", "--template=", "--", "."], seconds)
        command = ["fetch", "--quiet", "--depth=1", "--no-tags", "--no-recurse-submodules"]
        try:
            self._git([*command, "--filter=blob:none", "--", "origin", resolved.commit], seconds)
            return
        except GitError as error:
            if error.code != _NOT_SERVED:
                raise
        # Such a server would serve no single file afterwards either, so all of them come at once.
        self._git([*command, "--no-filter", "--", "origin", resolved.ref], seconds)
        if self._git(["rev-parse", "--verify", "FETCH_HEAD^{commit}"], seconds).decode().strip() != resolved.commit:
            raise RefNotFound("The branch or tag was changed just now: try again.")

    def entry(self, commit: str, path: str, seconds: float) -> tuple[str, str] | None:
        """Mode and object id of what is at the path in the commit."""
        listed = self._git(["ls-tree", "-z", "--full-tree", commit, "--", path], seconds).decode("utf-8", "replace")
        mode, _, rest = listed.partition(" ")
        return (mode, rest.split(" ", 1)[1].partition("\t")[0]) if listed else None

    def link(self, object_id: str, seconds: float) -> str | None:
        """Target of a symlink, fetched now; None where the host serves no single objects."""
        try:
            return self._git(["cat-file", "blob", object_id], seconds).decode("utf-8", "replace")
        except GitError as error:
            if error.code == _NOT_SERVED:
                return None
            raise

    def _git(self, arguments: list[str], seconds: float) -> bytes:
        """What git prints. Raises the error that its failure stands for."""
        # GitPython hands on all of this process's environment; env takes out what is no business of git's or would change its ways.
        withheld = [name for name in inherited(os.environ) if name not in self._environment]
        command = [*(["env", *(f"-u{name}" for name in withheld)] if withheld else []), "git", *arguments]
        running = Git(self._folder).execute(command, as_process=True, env=self._environment, start_new_session=True)
        assert running.proc is not None  # `running` ends it when it is collected
        output, errors, stopped = _collected(running.proc, self._folder, seconds)
        if stopped or running.proc.returncode:
            raise self._failure(stopped, errors.decode("utf-8", "replace"), seconds)
        return output

    def _failure(self, reason: str, errors: str, seconds: float) -> GitError:
        if reason == "time":
            return GitTimeout(f"{self._host} did not answer within {seconds:g} seconds: try again later.")
        if reason == "size":
            return TooLarge(f"{self._host} sent more than the portal takes in: the repository is too large to be looked into.")
        if re.search("unadvertised object|not our ref", errors):
            return GitError(f"{self._host} does not serve this commit.", code=_NOT_SERVED)
        login = self._login
        secrets = [login.password, login.username, quote(login.password, ""), quote(login.username, "")]
        return git_failures.meaning(errors, self._host, bool(login)) or git_failures.unknown(errors, self._host, secrets)


def _collected(process: subprocess.Popen[bytes], folder: Path, seconds: float) -> tuple[bytes, bytes, str]:
    """What git wrote to its two streams until it ended, and "time" or "size" where it had to be ended with all that it started.

    One loop for its streams, its time and its folder: under gevent, whose `selectors` and `sleep` let others go on meanwhile, too.
    """
    now = time.monotonic()
    end, look, stopped = now + seconds, now + _LOOK_SECONDS, ""
    output, errors = bytearray(), bytearray()
    assert process.stdout is not None
    assert process.stderr is not None
    with process.stdout, process.stderr, selectors.DefaultSelector() as open_streams:
        open_streams.register(process.stdout, selectors.EVENT_READ, output)
        open_streams.register(process.stderr, selectors.EVENT_READ, errors)
        while open_streams.get_map() and not stopped:
            for key, _ in open_streams.select(max(0.0, min(end, look) - now)):
                piece = os.read(key.fd, _PIECE_BYTES)
                key.data.extend(piece)
                if not piece:
                    open_streams.unregister(key.fileobj)
            del errors[_ERROR_BYTES:]
            now = time.monotonic()
            if now >= end:
                stopped = "time"
            elif len(output) > OUTPUT_BYTES or (now >= look and _size(folder) > FETCH_BYTES):
                stopped = "size"
            look = now + _LOOK_SECONDS if now >= look else look
    if not stopped:
        try:
            process.wait(max(0.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            stopped = "time"
    if stopped:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return bytes(output), bytes(errors), stopped


def _size(folder: Path) -> int:
    """Bytes below a folder, as far as its files still exist."""
    total = 0
    for path in folder.rglob("*"):
        with suppress(OSError):
            total += path.lstat().st_size
    return total


@contextmanager
def _turn(host: str) -> Iterator[None]:
    """One of the places of those who ask this host. Raises GitTimeout where none becomes free in time."""
    with _turns_lock:
        places = _turns.setdefault(host, threading.BoundedSemaphore(AT_ONCE))
    if not places.acquire(timeout=TURN_SECONDS):
        raise GitTimeout(f"{AT_ONCE} other questions to {host} are not answered yet: try again later.")
    try:
        yield
    finally:
        places.release()


def _taken_apart(remote: Remote) -> tuple[urls.Parts, str, GitLogin]:
    """The pieces of the remote's URL, the URL without a login, and the login. Raises InvalidUrl."""
    parts, split = urls.parts(remote.url), urls.split(remote.url)
    return parts, split.url, remote.login or GitLogin(split.username, split.password)


def _over_https(remote: Remote, prefixes: list[str], seconds: float) -> smart_http.Found | None:
    """The refs below these, asked for without git; None where git has to be asked. Raises GitError and its subclasses."""
    release_connection()  # a remote may take its time
    parts, url, login = _taken_apart(remote)
    if parts.scheme != "https":
        return None
    check_host(parts.host)
    with _turn(parts.host):
        answer = smart_http.ls_refs(url, parts.host, login, remote.ca_pem, prefixes, seconds, OUTPUT_BYTES)
    return answer and (answer[0], answer[1] if _is_branch(answer[1]) else "")


@contextmanager
def _session(remote: Remote) -> Iterator[_Session]:
    """Judge the remote's address, and lay out a scratch folder with its credential. Raises GitError and its subclasses."""
    release_connection()
    parts, url, login = _taken_apart(remote)
    addresses = allowed_addresses(parts.host, parts.port)
    _check_git()
    with _turn(parts.host), tempfile.TemporaryDirectory(prefix="ci-portal-git-") as name:
        folder = Path(name)
        yield _Session(folder, url, parts.host, login, environment(folder, url, parts, addresses, login, remote.ca_pem))


@cache
def _check_git() -> None:
    if Git().version_info[:2] < _OLDEST_GIT:
        raise GitError(f"git {'.'.join(map(str, _OLDEST_GIT))} or newer must be installed beside the portal.", code="git_too_old")


def _check_name(name: str, kind: str) -> None:
    if not name:
        return
    try:
        (refs.check_tag if kind == "tag" else refs.check_branch)(name)
    except ValueError as error:
        raise RefNotFound(str(error), field=kind, code="git_ref_invalid") from None


def _is_branch(ref: str) -> bool:
    """Whether a name that the remote sent is that of a branch, and of one that may be handed to git again."""
    try:
        refs.check_branch(ref.removeprefix("refs/heads/"))
    except ValueError:
        return False
    return ref.startswith("refs/heads/")


def _missing(session: _Session, name: str, kind: str, seconds: float) -> RefNotFound:
    """Why there is no such ref: the repository is empty, or the name is a little wrong."""
    try:
        known = session.list_refs(seconds)
    except GitError:
        return RefNotFound(f"The repository has no {kind} {name or 'HEAD'}.", field=kind)
    if not known.branches and not known.tags:
        return RefNotFound(
            "There is no branch and no tag at this URL: the repository is empty (push a commit to it first), or it is none.",
            field=kind,
            code="git_repository_empty",
        )
    if not name:
        return RefNotFound("The remote's HEAD leads to no commit: name the branch to build.", field="branch")
    close = difflib.get_close_matches(name, known.tags if kind == "tag" else known.branches, n=1)
    hint = f" Did you mean {close[0]}?" if close else ""
    return RefNotFound(f"The repository has no {kind} {name}.{hint}", field=kind)
