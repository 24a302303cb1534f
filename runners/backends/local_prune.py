"""OCI layouts on disk (images of builds without a registry) that need not be kept: too old, too many, or broken.

Only the standard library and folders: who calls says which layouts an active run or a repository still needs.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import uuid
from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from runners.backends.local_steps import digest_of_layout

#: A layout without a whole image is removed once it is that old: until then someone may be copying it here.
BROKEN_FOR = timedelta(hours=1)
#: Beginning of the name that a layout has while it is being removed.
REMOVING = ".removing-"


@dataclass(frozen=True, slots=True)
class Layout:
    """One image on disk."""

    path: Path  # <layouts>/<image>/<tag>
    written_at: datetime  # UTC


@dataclass(frozen=True, slots=True)
class Expired:
    """A layout that need not be kept."""

    path: Path
    bytes: int
    written_at: datetime  # UTC
    why: str  # "too old", "too many", "broken"
    layouts: Path  # the folder of all of them


def expired(layouts: Path, days: int, count: int, now: datetime, keep: Collection[Path] = ()) -> list[Expired]:
    """The layouts to remove: written more than `days` ago, or not among the `count` newest of their image name; 0 is no limit.

    The newest whole one of each image name always stays, and so does what `keep` names (`local_steps.layout_of` of active runs and
    of each repository's newest success). What holds no whole image, and what an interrupted removal left, goes whatever the limits.
    """
    found: dict[Path, list[Layout]] = defaultdict(list)
    gone: list[tuple[Layout, str]] = []
    for path in _layout_folders(layouts):
        layout = Layout(path, _written_at(path))
        if path.name.startswith(REMOVING):
            gone.append((layout, "broken"))
        elif _is_whole(path):
            found[path.parent].append(layout)
        elif now - layout.written_at > BROKEN_FOR:
            gone.append((layout, "broken"))
    for of_name in found.values():
        newest_first = sorted(of_name, key=lambda layout: (layout.written_at, layout.path.name), reverse=True)
        for place, layout in enumerate(newest_first[1:], start=1):
            if days and now - layout.written_at > timedelta(days=days):
                gone.append((layout, "too old"))
            elif count and place >= count:
                gone.append((layout, "too many"))
    kept = {path.absolute() for path in keep}
    left = [(layout, why) for layout, why in gone if layout.path.absolute() not in kept]
    return [Expired(layout.path, _size(layout.path), layout.written_at, why, layouts) for layout, why in sorted(left, key=_age)]


def remove(layout: Expired) -> bool:
    """Remove it, at one stroke for who reads, and image folders that are empty then; safe to repeat.

    Returns False, and leaves it, where it was written anew since it was found. Raises OSError where it can't be removed.
    """
    path = layout.path
    if not path.exists() or _written_at(path) != layout.written_at:
        return False
    if not path.name.startswith(REMOVING):
        path = path.rename(path.with_name(f"{REMOVING}{uuid.uuid4().hex}"))
        if _written_at(path) != layout.written_at and not layout.path.exists():  # a build replaced it just now
            path.rename(layout.path)
            return False
    shutil.rmtree(path)
    for parent in path.parents:
        if layout.layouts not in parent.parents:
            break
        with contextlib.suppress(OSError):  # it holds another tag
            parent.rmdir()
    return True


def _age(found: tuple[Layout, str]) -> tuple[datetime, Path]:
    return found[0].written_at, found[0].path


def _layout_folders(layouts: Path) -> Iterator[Path]:
    """Every folder that is an OCI layout or what was left of one being removed; anything else under `layouts` is not ours."""
    for folder, names, files in os.walk(layouts):
        if "oci-layout" in files or os.path.basename(folder).startswith(REMOVING):
            names.clear()
            yield Path(folder)


def _written_at(layout: Path) -> datetime:
    """When its index was written; that of a broken one, when the folder last changed."""
    index = layout / "index.json"
    return datetime.fromtimestamp((index if index.exists() else layout).stat().st_mtime, UTC)


def _is_whole(layout: Path) -> bool:
    """Whether its manifest has the digest that its index names, and every blob that the manifest names has its size."""
    try:
        manifest = json.loads(_blob(layout, digest_of_layout(layout)).read_bytes())
        blobs = [manifest["config"], *manifest["layers"]]
        return all(_blob(layout, blob["digest"]).stat().st_size == blob["size"] for blob in blobs)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _blob(layout: Path, digest: str) -> Path:
    algorithm, _, value = digest.partition(":")
    return layout / "blobs" / algorithm / value


def _size(path: Path) -> int:
    total = 0
    for folder, _, files in os.walk(path):
        for name in files:
            try:
                total += os.lstat(os.path.join(folder, name)).st_size
            except OSError:
                continue  # removed meanwhile
    return total
