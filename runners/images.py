"""Where a build's image is, and how to get it."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from django.conf import settings

from ci_portal.config import BASE_DIR
from events.models import Event
from runners.backend import backend_named
from runners.backends.local_steps import digest_of_layout, layout_of
from runners.models import Run


class Availability(StrEnum):
    """What is known of an image that was built."""

    THERE = "there"
    REPLACED = "replaced"  # a later build took its place on the disk
    REMOVED = "removed"
    ELSEWHERE = "elsewhere"  # on the disk of a machine that can't be looked at from here


def _layouts() -> Path:
    return (BASE_DIR / settings.PORTAL.build.folder / "images").absolute()


def availability(event: Event, run: Run | None) -> Availability:
    """Whether the image is where the build left it. A registry keeps what it was given until somebody removes it there."""
    if run is None or run.registory_add or run.backend != "local":
        return Availability.THERE
    if run.place and run.place != backend_named("local").place:
        return Availability.ELSEWHERE
    try:
        found = digest_of_layout(layout_of(_layouts(), run.image, run.image_tag))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return Availability.REMOVED
    except OSError:
        return Availability.ELSEWHERE
    return Availability.THERE if found == event.digest else Availability.REPLACED


def pull_commands(event: Event, run: Run | None) -> list[str]:
    """How to get the image: by its digest from the registry, or from the layout that a local build left on this machine's disk."""
    if run is None or not event.digest:
        return []
    if run.registory_add:
        return [f"{tool} pull {run.image}@{event.digest}" for tool in ("docker", "podman")]
    if run.backend == "local":
        return [f"podman pull oci:{layout_of(_layouts(), run.image, run.image_tag)}:{run.image_tag}"]
    return []
