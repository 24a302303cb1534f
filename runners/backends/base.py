"""What a backend is: the protocol, what it tells about a run, and the errors it may raise."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from runners.backends.causes import Cause
from runners.build import BuildSecrets, BuildSpec

#: What of a container's report is a number.
FIGURES = ("bytes", "cksum", "bare_bytes", "bare_cksum", "cut")


class BackendError(Exception):
    """Base of what a backend raises; the message is a sentence for a person."""


class Unreachable(BackendError):
    """The backend can't be asked now (no connection, time-out, 429, 5xx): safe to try again later."""


class Refused(BackendError):
    """The backend won't run this build (forbidden, invalid, quota): trying again changes nothing."""


class StreamBroken(BackendError):
    """A stream of output ended before its container did: read on from the last cursor."""


@dataclass(frozen=True, slots=True)
class ContainerState:
    """One container (or local step) of a run."""

    name: str  # clone, build, push
    started_at: datetime | None = None  # UTC
    finished_at: datetime | None = None  # UTC; set: it has terminated
    exit_code: int | None = None
    reason: str = ""  # as the backend says it: OOMKilled, Error, Completed, ImagePullBackOff, …
    #: What the container reported when it ended: {"commit"?, "digest"?, "error"?, "bytes", "cksum", "bare_bytes"?, "bare_cksum"?,
    #: "cut"?}; {} where it could not. bare_…: of all but the carriage returns, some of which what is read back may lack.
    #: cut: how many bytes it printed beyond those of `bytes` and `cksum`; the backend did not keep them.
    report: dict[str, Any] = field(default_factory=dict)


def sound(report: Any) -> dict[str, Any]:
    """A container's report without what can't be one: code of the build may have got hold of the place where it is told."""
    if not isinstance(report, dict):
        return {}
    texts = {key: value for key, value in report.items() if key not in FIGURES and isinstance(value, str)}
    figures = {key: value for key in FIGURES if type(value := report.get(key)) is int and 0 <= value < 1 << 63}
    return texts | figures


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that happened around a run, as the backend's machinery tells it: an Event of its Job or pod."""

    uid: str  # the same thing told again, with a higher count, has the same
    at: datetime  # UTC, the last time
    since: datetime  # UTC, the first time
    reason: str  # one word: Scheduled, Pulling, FailedScheduling, BackOff, …
    message: str
    about: str = ""  # "job", "pod", or the container's name
    count: int = 1
    warning: bool = False


@dataclass(frozen=True, slots=True)
class RunState:
    """What a backend knows of one run now."""

    run_uid: str
    exists: bool = True  # False: the backend has no trace of it (any more)
    finished: bool = False  # nothing of it runs any more and nothing will
    containers: tuple[ContainerState, ...] = ()  # in the order they run
    #: Why it can't go on or did not end well, one sentence with what to do; "" where all is well.
    problem: str = ""
    fatal: bool = False  # the problem won't go away by waiting: settle the run as failed now
    disrupted: bool = False  # the cluster ended it (eviction, node loss, preemption), not the build
    waiting: str = ""  # why it has not started, for people: "no node has room: …", "queued by Kueue"
    queued: bool = False  # the cluster holds it back on purpose: its time limit has not begun
    stale: bool = False  # the backend does not answer now: this is what was known before
    began: datetime | None = None  # since when its time limit counts, UTC; None: the backend does not know, or it has not begun
    placed_at: datetime | None = None  # UTC, since when it has a node to run on; None: not yet, or no node is chosen here
    cause: Cause | None = None  # of `problem`, else of `waiting`
    notices: tuple[Notice, ...] = ()  # what is remembered of what happened around it, the oldest first

    @property
    def started_at(self) -> datetime | None:
        """When its first container started, UTC."""
        return min((c.started_at for c in self.containers if c.started_at), default=None)


@dataclass(frozen=True, slots=True)
class Piece:
    """Consecutive raw bytes of one container's output, and where to go on after them."""

    data: bytes
    cursor: str  # at most 300 characters, opaque to everyone but the backend
    printed_at: datetime | None = None  # UTC, of the first byte
    missing: int | None = None  # set: bytes are known to be missing before `data` (0: how many is not known)


@dataclass(frozen=True, slots=True)
class Held:
    """What a backend holds of one run: its Job, or the folder of its local build."""

    run_uid: str
    name: str  # the run's; "" where it does not say
    installation: str = ""  # the portal that made it (runners.models.Installation); "" where it does not say
    repo_name: str = ""
    created_at: datetime | None = None  # UTC
    finished: bool = False  # nothing of it runs any more and nothing will
    finished_at: datetime | None = None  # UTC, where it is known
    going: bool = False  # it is being deleted already
    identity: str = ""  # tells it from another one of the same name, in the backend's own words


class Backend(Protocol):
    """Where runs execute. All methods may be called from several threads and are safe to repeat."""

    name: str
    launches_in_request: bool  # False: only the watcher may launch (it owns the processes)

    @property
    def place(self) -> str:
        """Where its builds are, at most 64 characters; "" where watchers can look into them from everywhere.

        A watcher whose backend is in another place can't.
        """

    def containers(self, spec: BuildSpec) -> tuple[str, ...]:
        """The names of the run's containers (or local steps), in the order in which they run."""

    def launch(self, spec: BuildSpec, secrets: BuildSecrets) -> None:
        """Start the build, or adopt it where it was started before (same run_uid). Raises Unreachable or Refused."""

    def check(self, spec: BuildSpec, secrets: BuildSecrets) -> list[str]:
        """Ask whether `launch` would be accepted, changing nothing; returns warnings. Raises Unreachable or Refused."""

    def manifest(self, spec: BuildSpec) -> list[dict[str, Any]]:
        """What `launch` would create, secrets as references with a Secret to fill in."""

    def changes(self, timeout: float) -> set[str] | None:
        """Wait up to `timeout` seconds for news; the run_uids that changed, None: start over and look at every run."""

    def state(self, spec: BuildSpec) -> RunState:
        """What is known of the run, from memory where possible. Raises Unreachable while nothing can be known."""

    def stream(self, spec: BuildSpec, container: str, cursor: str) -> Iterator[Piece]:
        """Follow a container's output from `cursor` ("" is the first byte) until it has ended and all of it was read.

        Raises StreamBroken when it was cut before that, Unreachable when it can't be had now.
        """

    def delete(self, spec: BuildSpec) -> None:
        """End the run and remove all of it. Nothing to remove is no error. Raises Unreachable or Refused."""

    def settled(self, spec: BuildSpec) -> None:
        """The run's outcome and output are recorded: remove its secrets and whatever of it nobody needs. Safe to repeat."""

    def has_left(self, spec: BuildSpec) -> bool:
        """Whether there is anything that `settled` would remove, asked for and not remembered. Raises Unreachable or Refused."""

    def inventory(self) -> list[Held]:
        """Everything of builds that is there now, asked for and not remembered; of other portals too where they share the place.

        Raises Unreachable or Refused.
        """

    def remove(self, held: Held) -> bool:
        """End and remove this very one; returns whether it was there to remove. Raises Unreachable or Refused."""

    def certificate(self, ca_secret: str) -> str:
        """The PEM certificates that `ca_secret` names, for the portal's own connections; "" where it may not read them.

        Raises Refused where there is no such certificate, Unreachable while it can't be asked for.
        """

    def close(self) -> None:
        """Stop following, end threads; running builds go on."""
