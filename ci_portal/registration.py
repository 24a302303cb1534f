"""Which repository a check means, and its registration where it is new."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields, replace

from django.conf import settings
from django.db import IntegrityError, transaction

from ci_portal import outgoing
from ci_portal.api.problems import Problem, field_error
from logs.models import Log
from repos import urls
from repos.credentials import GitLogin, git_login, store_git_login
from repos.errors import InvalidUrl
from repos.models import Repository
from repos.serializers import check_repo_name
from runners.record import BuildSettings


@dataclass(frozen=True, slots=True)
class CheckRequest:
    """The body of POST /check/, validated; None is what the request leaves to the repository."""

    repo: str
    user: str = ""
    token: str = ""
    branch: str | None = None
    tag: str | None = None
    dockerfile: str | None = None
    build_path: str | None = None
    image: str | None = None
    type: str | None = None
    desc: str | None = None
    ca_secret: str | None = None
    force: bool = False
    dry_run: bool = False
    may_change_logins: bool = True  # whether a login that differs from the stored one may take its place


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be built: a repository, saved or still to be registered, with the login and settings of this check."""

    repository: Repository
    login: GitLogin
    chosen: BuildSettings
    new_login: GitLogin  # came with the request, to be stored once the remote accepted it; empty: none came


def find(request: CheckRequest) -> Wanted:
    """Find the repository that the request means, or describe it from its URL. Nothing is written.

    Raises Problem for a URL that may not be asked and for a bare name that nothing is known of, and
    repos.credentials.CredentialUnreadable.
    """
    known = Repository.objects.filter(repo_name=request.repo).first()
    sent = GitLogin(request.user, request.token) if request.token else GitLogin()
    if known:
        repository = known
    else:
        split = _url_of(request.repo)
        sent = sent or GitLogin(split.username, split.password)
        repository = Repository.objects.filter(repo=split.url).order_by("id").first() or _described(split.url, request)
    stored = git_login(repository) if repository.pk and (not sent or not request.may_change_logins) else GitLogin()
    if stored and not request.may_change_logins:
        if sent and sent != stored:
            raise _needs_admin(repository, "git credentials", "user", "token")
        if request.ca_secret is not None and request.ca_secret != repository.ca_secret:
            raise _needs_admin(repository, "a certificate to trust", "ca_secret")  # whom to trust with the stored login
    return Wanted(repository, sent or stored, _settings(repository, request), sent)


def _needs_admin(repository: Repository, what: str, *names: str) -> Problem:
    """A builder builds; whoever could change what others build with could also point it at what only they may read."""
    left_out = " and ".join(names)
    detail = f"{repository.repo_name} has {what} of its own, which differs: leave {left_out} out, or have an admin change it."
    return Problem(403, "forbidden", detail, errors=[field_error(name, detail, "forbidden") for name in names])


def _url_of(repo: str) -> urls.SplitUrl:
    """The git URL that `repo`, no registered name, is or stands for. Raises Problem."""
    if "://" not in repo and "@" not in repo and "::" not in repo:
        repo = _below_base(repo)
    try:
        outgoing.check_git_host(urls.host(repo))
    except InvalidUrl as error:
        raise _bad_repo(400, "invalid_url", str(error)) from None
    except outgoing.Refused as error:
        raise _bad_repo(400, "git_address_refused", str(error)) from None
    return urls.split(repo)


def _below_base(name: str) -> str:
    """The URL that git.base_url makes of a bare name. Raises Problem."""
    try:
        if not name.isdigit():
            check_repo_name(name)
    except ValueError as error:
        raise _bad_repo(400, "invalid_url", f"This is neither a git URL nor a name: a name {error}") from None
    if ":" in name or name.startswith("~"):
        raise _bad_repo(400, "invalid_url", "Use https://host/path or ssh://git@host/path (also written git@host:path).")
    base = settings.PORTAL.git.base_url
    if not base:
        raise _bad_repo(404, "repository_unknown", "No repository of this name is registered: register it, or give its git URL.")
    return f"{base.rstrip('/')}/{name.removesuffix('.git')}.git"


def _bad_repo(status: int, code: str, detail: str) -> Problem:
    return Problem(status, code, detail, errors=[field_error("repo", detail, code)])


def _settings(repository: Repository, request: CheckRequest) -> BuildSettings:
    """The repository's settings with what the request says instead; a branch in the request sets the repository's tag aside."""
    chosen = BuildSettings(**{name.name: getattr(repository, name.name) for name in fields(BuildSettings)})
    if request.branch:
        chosen = replace(chosen, tag="")
    said = {name.name: getattr(request, name.name) for name in fields(BuildSettings)}
    return replace(chosen, **{name: value for name, value in said.items() if value is not None})


def _described(url: str, request: CheckRequest) -> Repository:
    """A repository for this URL, not saved, named after the last part of its path."""
    name = url.rstrip("/").replace(":", "/").rpartition("/")[2].removesuffix(".git")[:140] or "repository"
    if name.isdigit():
        name = f"repo-{name}"  # digits alone would read as an id in a path
    base = settings.PORTAL.git.base_url
    if base and not urls.is_below(url, base):
        name = _with_hash(name, url)  # the bare name stands for the repository below git.base_url, and gets its credentials
    said = {field.name: getattr(request, field.name) or "" for field in fields(BuildSettings)}
    return Repository(repo_name=name, repo=url, user=request.user[:50], **said)


def _with_hash(name: str, url: str) -> str:
    return f"{name}-{hashlib.sha256(url.encode()).hexdigest()[:6]}"


def register(wanted: Wanted, actor: str) -> Repository:
    """Save what is new of the repository and its login; the caller holds the transaction.

    Where another request has just registered the same URL, that one is returned; where the name is taken by another URL, a
    short hash of this one's is added.
    """
    repository = _held(wanted.repository) if wanted.repository.pk else _saved(wanted.repository, actor)
    if wanted.new_login:
        stored = {c.kind: c for c in repository.credentials.all()}
        if not stored or git_login(repository) != wanted.new_login:
            store_git_login(repository, wanted.new_login.username, wanted.new_login.password)
            Log.objects.record(f"git credentials {'replaced' if stored else 'set'}", repo_name=repository.repo_name, actor=actor)
    return repository


def _held(repository: Repository) -> Repository:
    """Keep the row from being deleted until the event that refers to it is recorded."""
    held = Repository.objects.select_for_update().filter(pk=repository.pk).values_list("repo", flat=True).first()
    if held is None:
        raise Problem(409, "repository_deleted", f"The repository {repository.repo_name} was deleted meanwhile: register it again.")
    if held != repository.repo:  # neither the commit nor a login that was tried there belongs to another URL
        raise Problem(409, "repository_changed", f"The URL of {repository.repo_name} was changed meanwhile: check it again.")
    return repository


def _saved(described: Repository, actor: str) -> Repository:
    names = [described.repo_name, _with_hash(described.repo_name, described.repo)]
    columns = {
        field.attname: getattr(described, field.attname) for field in Repository._meta.concrete_fields if not field.primary_key
    }
    for name in names:
        # A new object at each try: a transaction that is rolled back and run again must not find a key of the first one.
        repository = Repository(**{**columns, "repo_name": name})
        try:
            with transaction.atomic():
                repository.save(force_insert=True)
        except IntegrityError:
            if same := Repository.objects.filter(repo_name=name, repo=described.repo).first():
                return same
            continue
        Log.objects.record(f"repository registered: {repository.repo}", repo_name=name, actor=actor)
        return repository
    raise Problem(
        409, "name_taken", f"the names {' and '.join(names)} are taken by other repositories: register it under a name of its own"
    )
