"""Write an event and its first run: the outbox that every build starts from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime
from itertools import islice

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts.sender import sender
from events.models import Event
from logs.models import Log
from repos.models import Repository
from runners.backends.causes import Cause
from runners.describe import registry_login
from runners.models import Run, new_uid
from runners.naming import ImageName, event_name, image_name, image_tag, job_name, stamps


@dataclass(frozen=True, slots=True)
class BuildSettings:
    """What a check builds and how: the repository's own columns, or what the request says instead."""

    branch: str = ""
    tag: str = ""
    dockerfile: str = ""
    build_path: str = ""
    image: str = ""
    type: str = ""
    desc: str = ""
    ca_secret: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """The commit that was resolved, and the ref that led to it."""

    ref: str
    commit: str
    asked_at: datetime = field(default_factory=timezone.now)  # not after the remote told it


def digest_of(*parts: str) -> str:
    """SHA-256 of the parts, told apart, in hexadecimal digits."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def target(repository: Repository, chosen: BuildSettings) -> ImageName:
    """The image that a build of this repository pushes."""
    registry = settings.PORTAL.registry
    return image_name(chosen.image, repository.repo_name, registry.address, registry.repository)


def fingerprint(repository: Repository, source: Source, chosen: BuildSettings) -> str:
    """What makes two checks one build: the repository, the commit and every setting that the image depends on."""
    build = settings.PORTAL.build
    image = {**asdict(chosen), "branch": "", "desc": "", "image": str(target(repository, chosen))}
    how = json.dumps(image, sort_keys=True)
    return digest_of(str(repository.pk), repository.repo, source.commit, build.backend, build.builder, how)


def new_run(event: Event, repository: Repository, source: Source, chosen: BuildSettings, uid: str) -> Run:
    """Describe the event's first attempt, not saved."""
    image, build = target(repository, chosen), settings.PORTAL.build
    return Run(
        name=event.job,
        status=Run.WAITING,
        type=event.type,
        registory_add=image.registry,
        registry_name=registry_login(image.registry)[0],
        image_repo=image.repository,
        image_name=image.name,
        image_tag=event.image_tag,
        repo_path=repository.repo,
        repo_dockerfile=chosen.dockerfile or "Dockerfile",
        build_path=chosen.build_path or ".",
        desc=chosen.desc[:200],
        managed=True,
        event=event,
        uid=uid,
        backend=build.backend,
        builder="buildah" if build.backend == "local" else build.builder,
        ref=source.ref,
        commit=source.commit,
        ca_secret=chosen.ca_secret,
    )


def new_event(repository: Repository, source: Source, chosen: BuildSettings, stamp: str, actor: str, uid: str) -> Event:
    """Describe the event of this minute's stamp, not saved, whose first run has this identity: its Job is named after it."""
    image = str(target(repository, chosen))
    name = event_name(repository.repo_name, stamp)
    tag = image_tag(chosen.tag) if chosen.tag else stamp
    return Event(
        name=name,
        status=Event.WAITING,
        repo=repository.repo_name,
        job=job_name(repository.job or repository.repo_name, uid),
        type=(chosen.type or "dockerfile")[:50],
        image=image,
        image_tag=tag,
        desc=chosen.desc[:300],
        managed=True,
        repository=repository if repository.pk else None,
        ref=source.ref,
        commit=source.commit,
        created_by=actor[:150],
        created_token=sender().token,
        fingerprint=fingerprint(repository, source, chosen),
        name_key=digest_of(name),
        tag_key=None if chosen.tag else digest_of(image, tag),
    )


def _free_stamps(repository: Repository, chosen: BuildSettings) -> Iterator[str]:
    """Stamps for a name and a tag that no other event has: the minute's first unseen, of the others what is not known to be taken.

    Finding out by inserting alone would take the hundredth check of a minute a hundred tries, while others wait for it.
    """
    candidates, many = stamps(timezone.localtime()), 1
    while True:
        batch = list(islice(candidates, many))
        taken: set[str] = set()
        if many > 1:
            image = str(target(repository, chosen))
            names = {digest_of(event_name(repository.repo_name, stamp)): stamp for stamp in batch}
            tags = {} if chosen.tag else {digest_of(image, stamp): stamp for stamp in batch}
            # Two queries: each has an index of its own.
            taken = {names[str(key)] for key in Event.objects.filter(name_key__in=names).values_list("name_key", flat=True)}
            taken |= {tags[str(key)] for key in Event.objects.filter(tag_key__in=tags).values_list("tag_key", flat=True)}
        yield from (stamp for stamp in batch if stamp not in taken)
        many = 26 if many == 1 else 700  # the minute's first letters, then all that it has


def _insert(repository: Repository, source: Source, chosen: BuildSettings, actor: str, force: bool, uid: str) -> tuple[Event, bool]:
    """Insert the event under the first free name; returns the active event of the same build instead where there is one."""
    same = Event.objects.active().filter(fingerprint=fingerprint(repository, source, chosen))
    for stamp in _free_stamps(repository, chosen):
        if not force and (active := same.values_list("pk", flat=True).first()):
            return Event.objects.get(pk=active), False
        event = new_event(repository, source, chosen, stamp, actor, uid)
        event.active_key = None if force else event.fingerprint
        try:
            event.save(force_insert=True)
        except IntegrityError:  # the name or tag is taken, or the same build was just recorded
            transaction.set_rollback(False)  # SQLite and InnoDB undo the one statement; no savepoint is needed for that
            continue
        return event, True
    raise AssertionError("stamps never end")


#: What an attempt has in common with the one before it.
SAME = [
    "type",
    "registory_add",
    "registry_name",
    "image_repo",
    "image_name",
    "image_tag",
    "repo_path",
    "repo_dockerfile",
    "build_path",
    "desc",
    "managed",
    "event",
    "backend",
    "builder",
    "ref",
    "commit",
    "ca_secret",
]


def next_attempt(run: Run, *, automatic: bool = False) -> Run:
    """Record one more attempt of the run's event: the same commit and settings. The caller holds the transaction.

    `automatic`: nobody asked for it; the cluster ended the one before.
    """
    uid = new_uid()
    name = f"{run.name.removesuffix(f'-{run.uid[:8]}' if run.uid else '')}-{uid[:8]}"
    same = {column: getattr(run, column) for column in SAME}
    again = Run.objects.create(**same, name=name, status=Run.WAITING, uid=uid, attempt=run.attempt + 1, automatic=automatic)
    Event.objects.filter(pk=run.event_id).update(job=name)
    assert run.event is not None
    Log.objects.record(f"attempt {again.attempt} recorded as run {name}", repo_name=run.event.repo, event=run.event, run=again)
    return again


def record(
    repository: Repository, source: Source, chosen: BuildSettings, actor: str, *, force: bool = False
) -> tuple[Event, Run, bool]:
    """Write event, run and history; the caller holds the transaction.

    Returns the event, its newest run, and whether they are new: without `force`, an active event of the same repository, commit
    and build settings is returned as it is (SPEC section 3.5).
    """
    uid = new_uid()
    event, created = _insert(repository, source, chosen, actor, force, uid)
    if not created:
        return event, event.runs.order_by("-id")[0], False
    run = new_run(event, repository, source, chosen, uid)
    run.save(force_insert=True)
    msg = f"event {event.name} created: {source.ref} at commit {source.commit} as {event.image}:{event.image_tag}"
    Log.objects.record(msg, repo_name=event.repo, event=event, run=run, actor=actor)
    if repository.supersede:
        _supersede(event, source)
    return event, run, True


def _supersede(newer: Event, source: Source) -> None:
    """Cancel runs that still wait to build an older state of the same branch into the same image.

    An event that was recorded while the remote was being asked may know a newer commit than this one does: it is left alone. So
    is a run that leaves its waiting state at this moment. Rows are locked in the order of all transitions: runs by id, each
    before its event.
    """
    if not source.ref.startswith("refs/heads/"):
        return
    older = Event.objects.filter(repository=newer.repository, ref=newer.ref, image=newer.image, ctime__lt=source.asked_at)
    for run in Run.objects.waiting().filter(event__in=older, cancel_requested_at=None).select_related("event"):
        superseded = f"Superseded by event {newer.name}."
        run.finish(Run.CANCELLED, reason=superseded, cause=Cause.SUPERSEDED, since=(Run.WAITING,))
