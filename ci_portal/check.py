"""The story of `POST /check/` (SPEC section 3): ask the remote, record, launch."""

from __future__ import annotations

from dataclasses import dataclass

from django.db import IntegrityError
from django.utils import timezone

from ci_portal.api.problems import Problem, field_error, invalid
from ci_portal.api.retry import InTurn, in_transaction
from ci_portal.registration import CheckRequest, Wanted, find, register
from events.models import Event, IdempotencyKey
from repos import git
from repos.credentials import CredentialUnreadable
from repos.models import Repository
from repos.serializers import describe
from runners.backend import configured_backend
from runners.backends.base import BackendError, Unreachable
from runners.launch import launch
from runners.models import Run
from runners.record import Source, record, target
from runners.serializers import describe_new

#: git errors that are the user's to correct in the request answer 422; a remote that can't be asked answers 424.
GIT_STATUS = {git.InvalidUrl: 400, git.AddressRefused: 400, git.HostUnreachable: 424, git.GitTimeout: 424}
#: Checks of one repository lock its row, and scripts like to send many at once.
_RECORDING = InTurn()


@dataclass(frozen=True, slots=True)
class Idempotency:
    """What an `Idempotency-Key` header identifies: `key` the request, `body` what it asked for (both hashed)."""

    key: str
    body: str


@dataclass(frozen=True, slots=True)
class Checked:
    """What became of a check."""

    event: Event
    run: Run
    status: int  # 202 recorded now, 200 the same build was active already, 502 the backend refused it
    repository: Repository | None = None  # as it was when this was recorded now

    @property
    def refused(self) -> bool:
        """Whether the backend refused the build: event and run have ended as failed."""
        return self.status == 502


class _KeyTaken(Exception):
    """The same Idempotency-Key was recorded by a request that was faster."""


def check(request: CheckRequest, actor: str, idempotency: Idempotency | None = None) -> Checked:
    """Resolve the commit, record event and run in one transaction, and launch.

    Raises Problem: a 4xx for what the request or the remote has wrong, and then nothing was created.
    """
    if idempotency and (earlier := replay(idempotency)):
        return earlier
    wanted = look_up(request)
    source = ask_remote(wanted)
    try:
        with _RECORDING:
            event, run, created = in_transaction(lambda: _write(wanted, source, actor, request.force, idempotency))
    except _KeyTaken:
        assert idempotency is not None
        return replay(idempotency) or check(request, actor, idempotency)
    if not created:
        return Checked(event, run, 200)
    if configured_backend().launches_in_request:
        run = launch(run, f"request of {actor or 'anonymous'}")
    if run.status != Run.FAILED or run.launched_at:  # it may have been built and ended already
        return Checked(event, run, 202, event.repository)
    if idempotency:
        IdempotencyKey.objects.filter(key=idempotency.key).update(status=502)
    return Checked(event, run, 502)


def look_up(request: CheckRequest) -> Wanted:
    """Find what the request means. Raises Problem."""
    try:
        wanted = find(request)
    except CredentialUnreadable as error:
        raise Problem(409, "credentials_unreadable", str(error)) from None
    image, longest = str(target(wanted.repository, wanted.chosen)), Event._meta.get_field("image").max_length or 0
    if len(image) > longest:
        raise invalid(field_error("image", f"With the registry in front, {image} is longer than {longest} characters."))
    return wanted


def remote_of(wanted: Wanted) -> git.Remote:
    """The remote with its login and the certificates to trust there."""
    trusted = ""
    if wanted.chosen.ca_secret:
        try:
            trusted = configured_backend().certificate(wanted.chosen.ca_secret)
        except Unreachable:
            pass  # a cluster that is away does not keep a check from being recorded; git tells where the certificate was needed
        except BackendError as error:
            code, message = "ca_secret_unusable", str(error)
            raise Problem(422, code, message, errors=[field_error("ca_secret", message, code)]) from None
    return git.Remote(wanted.repository.repo, wanted.login, trusted)


def ask_remote(wanted: Wanted) -> Source:
    """Resolve branch or tag with one `ls-remote`. Raises Problem."""
    remote, asked_at = remote_of(wanted), timezone.now()
    try:
        resolved = git.resolve(remote, wanted.chosen.branch, wanted.chosen.tag)
    except git.GitError as error:
        raise git_problem(error) from None
    return Source(resolved.ref, resolved.commit, asked_at)


def git_problem(error: git.GitError) -> Problem:
    """The 4xx answer for what git found wrong, naming the field to correct."""
    message = str(error)
    status = GIT_STATUS.get(type(error), 422)
    return Problem(status, error.code, message, errors=[field_error(error.field, message, error.code)])


def replay(idempotency: Idempotency) -> Checked | None:
    """What the same key was answered with, None where it is new. Raises Problem for the same key with another body."""
    earlier = IdempotencyKey.objects.select_related("event").filter(key=idempotency.key).first()
    if earlier is None:
        return None
    if earlier.request != idempotency.body:
        raise Problem(
            422, "idempotency_key_reused", "This Idempotency-Key came with another body before: use a new one for each check."
        )
    return Checked(earlier.event, earlier.event.runs.order_by("-id")[0], earlier.status)


def _write(wanted: Wanted, source: Source, actor: str, force: bool, idempotency: Idempotency | None) -> tuple[Event, Run, bool]:
    repository = register(wanted, actor)
    event, run, created = record(repository, source, wanted.chosen, actor, force=force)
    if created:
        describe_new(run)
        if wanted.repository.pk:  # else another request may have registered it just before, with credentials
            describe(repository, bool(wanted.login), event.pk)
    if idempotency:
        try:
            IdempotencyKey.objects.create(
                key=idempotency.key, request=idempotency.body, event=event, status=202 if created else 200
            )
        except IntegrityError:
            raise _KeyTaken from None
    return event, run, created
