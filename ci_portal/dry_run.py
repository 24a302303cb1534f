"""What a check would do, point by point, with nothing changed (SPEC section 3.6)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from django.utils import timezone

from ci_portal.api.problems import Problem
from ci_portal.check import ask_remote, git_problem, look_up, remote_of
from ci_portal.registration import CheckRequest, Wanted
from repos import git
from runners.backend import backend_named
from runners.backends.base import Backend, BackendError
from runners.build import BuildSpec
from runners.describe import build_secrets, build_spec, registry_of
from runners.models import new_uid
from runners.naming import stamps
from runners.record import Source, new_event, new_run
from runners.registry import RegistryError


@dataclass(frozen=True, slots=True)
class Point:
    """One thing that was looked at. `ok` is None where it could not be, since an earlier point failed."""

    name: str
    ok: bool | None
    detail: str
    field: str = ""  # what to correct


def dry_run(request: CheckRequest, actor: str) -> dict[str, Any]:
    """Report what this check would do: {"dry_run", "ok", "checks": [Point…], "commit", "image", "manifest"}.

    Raises Problem where the request itself can't be used (an unknown name, a URL that may not be asked).
    """
    wanted = look_up(request)
    try:
        source = ask_remote(wanted)
    except Problem as problem:
        field = problem.errors[0]["field"] if problem.errors else "repo"
        points = [Point("repository", False, str(problem.detail), field)]
        points += [
            Point(name, None, "not looked at: the repository could not be asked") for name in ("dockerfile", "registry", "backend")
        ]
        return _report(points, None, None)
    spec, backend = _described(wanted, source, actor)
    points = [Point("repository", True, f"the remote answers; {source.ref} is commit {source.commit}")]
    points += [*_inside(wanted, source, spec), _registry(spec, backend), *_backend(spec, wanted, backend)]
    return _report(points, spec, backend)


def _report(points: list[Point], spec: BuildSpec | None, backend: Backend | None) -> dict[str, Any]:
    return {
        "dry_run": True,
        "ok": all(point.ok for point in points),
        "checks": [asdict(point) for point in points],
        "commit": spec.commit if spec else "",
        "image": spec.image_reference if spec else "",
        "manifest": backend.manifest(spec) if spec and backend else [],
    }


def _described(wanted: Wanted, source: Source, actor: str) -> tuple[BuildSpec, Backend]:
    """The build as it would be recorded; its rows are never saved, so its ids are 0."""
    uid = new_uid()
    event = new_event(wanted.repository, source, wanted.chosen, next(stamps(timezone.localtime())), actor, uid)
    event.pk = 0
    run = new_run(event, wanted.repository, source, wanted.chosen, uid)
    run.pk = 0
    return build_spec(run), backend_named(run.backend)


def _inside(wanted: Wanted, source: Source, spec: BuildSpec) -> Iterator[Point]:
    """Do Dockerfile and build path exist in that commit?"""
    paths: list[git.Wanted] = [("dockerfile", spec.dockerfile, "file"), ("build_path", spec.build_path, "directory")]
    try:
        problems = dict(git.look_inside(remote_of(wanted), git.Resolved(source.ref, source.commit), paths))
    except git.GitError as error:
        yield Point("dockerfile", False, str(git_problem(error).detail), error.field)
        return
    for field, path, _ in paths:
        yield Point(field, field not in problems, problems.get(field, f"{path} is there"), field)


def _registry(spec: BuildSpec, backend: Backend) -> Point:
    """Does the registry accept a push of this image?"""
    if not spec.registry:
        return Point("registry", True, "no registry is configured: the image becomes an OCI layout on disk")
    try:
        registry_of(spec, backend).check_push("/".join(part for part in (spec.image_repo, spec.image_name) if part))
    except RegistryError as error:
        return Point("registry", False, str(error), "image")
    return Point("registry", True, f"{spec.registry} accepts a push of {spec.image}")


def _backend(spec: BuildSpec, wanted: Wanted, backend: Backend) -> Iterator[Point]:
    """Would the backend accept the build?"""
    checked: Callable[..., list[str]] = backend.check
    try:
        warnings = checked(spec, build_secrets(spec, wanted.login))
    except BackendError as error:
        yield Point("backend", False, str(error))
        return
    yield Point("backend", True, " ".join([f"{backend.name} accepts the build.", *warnings]))
