"""Rows that tests of pages and lists need: a repository, an event of it, a run of that."""

from datetime import timedelta
from typing import Any

from django.utils import timezone

from events.models import Event
from repos.models import Repository
from runners.models import Run, new_uid

COMMIT = "4f1c9f0d5a2e47c0a1b2c3d4e5f60718293a4b5c"
DIGEST = "sha256:" + "5c" * 32


def repository(repo_name: str = "exporter", **columns: Any) -> Repository:
    columns.setdefault("repo", f"https://git.example.com/team/{repo_name}.git")
    return Repository.objects.create(repo_name=repo_name, **columns)


def event(of: Repository | None = None, **columns: Any) -> Event:
    defaults: dict[str, Any] = {
        "repo": of.repo_name if of else "elsewhere",
        "repository": of,
        "managed": True,
        "image": "registry.example.com/team/exporter",
        "image_tag": "buildv202611230801",
        "ref": "refs/heads/main",
        "commit": COMMIT,
    }
    defaults.update(columns)
    defaults.setdefault("name", f"event-{defaults['repo']}-{defaults['image_tag']}")
    if defaults.get("status") in ("3", "4", "5"):
        defaults.setdefault("finished_at", timezone.now() + timedelta(seconds=75))
    return Event.objects.create(**defaults)


def run(of: Event, **columns: Any) -> Run:
    uid = new_uid()
    defaults: dict[str, Any] = {
        "event": of,
        "managed": True,
        "uid": uid,
        "name": f"{of.repo}-{uid[:8]}",
        "status": of.status_label,
        "backend": "kubernetes",
        "builder": "buildkit",
        "registory_add": "registry.example.com",
        "image_repo": "team",
        "image_name": "exporter",
        "image_tag": of.image_tag,
        "commit": of.commit,
        "ref": of.ref,
        "digest": of.digest,
        "reason": of.reason,
    }
    return Run.objects.create(**(defaults | columns))
