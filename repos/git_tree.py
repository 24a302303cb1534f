"""Finding a path in the tree of a commit, as a checkout of it would lead there: through symlinks, but never out of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from repos import refs

#: Symlinks that one path may lead through, as Linux has it (path_resolution(7)).
_MOST_LINKS = 40
_SYMLINK, _SUBMODULE, _TREE = "120000", "160000", "040000"

#: Gives mode and object id of the entry at a path, None where there is none.
ReadEntry = Callable[[str], tuple[str, str] | None]
#: Gives the target of the symlink with this object id, None where it can't be had.
ReadLink = Callable[[str], str | None]


def problem_with(path: str, kind: str, where: str, read_entry: ReadEntry, read_link: ReadLink) -> str:
    """A sentence where `path` is not a `kind` ("file" or "directory") in the commit that `where` names, else ""."""
    try:
        path = refs.normal_path(path)
    except ValueError as error:
        return str(error)
    found = _find(path, read_entry, read_link)
    if found == kind:
        return ""
    sentences = {
        "file": "{path} is a file in {where}, not a directory.",
        "directory": "{path} is a directory in {where}, not a file.",
        "submodule": "{path} leads into a submodule in {where}, which is not part of it.",
        "outside": "{path} leads out of the repository through a symlink in {where}.",
        "circle": "{path} leads in a circle of symlinks in {where}.",
        "nowhere": "{path} leads through a symlink in {where} to something that is not there.",
        "unread": "{path} leads through a symlink in {where}, which could not be read from this host.",
        "missing": "There is no {kind} {path} in {where}.",
    }
    return sentences[found].format(path=path, where=where, kind=kind)


def _find(path: str, read_entry: ReadEntry, read_link: ReadLink) -> str:
    """What the path leads to: file, directory, or in one word why to neither."""
    ahead = deque(path.split("/"))
    behind: list[str] = []
    links = 0
    while ahead:
        step = ahead.popleft()
        if step in ("", "."):
            continue
        if step == "..":
            if not behind:
                return "outside"
            behind.pop()
            continue
        entry = read_entry("/".join([*behind, step]))
        if entry is None:
            return "nowhere" if links else "missing"
        mode, object_id = entry
        if mode == _SYMLINK:
            links += 1
            stopped, steps = _follow(object_id, links, read_link)
            if stopped:
                return stopped
            ahead.extendleft(reversed(steps))
        elif mode == _TREE:
            behind.append(step)
        elif mode == _SUBMODULE:
            return "submodule"
        elif ahead:
            return "nowhere" if links else "missing"
        else:
            return "file"
    return "directory"


def _follow(object_id: str, links: int, read_link: ReadLink) -> tuple[str, list[str]]:
    """Why a symlink can't be followed, "" where it can, and the steps that it stands for."""
    if links > _MOST_LINKS:
        return "circle", []
    target = read_link(object_id)
    if target is None:
        return "unread", []
    return ("outside", []) if target.startswith("/") else ("", target.split("/"))
