"""How much disk a local build uses and how much is left: looked at while it runs, at little cost. Standard library only."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

#: What the system says of a disk, or of a user's share of one, that takes no more.
FULL = (errno.ENOSPC, errno.EDQUOT)
#: With less than this free a disk is as good as full.
FULL_BYTES = 1 << 17
#: Of every look so many seconds are spent on measuring, at most; a folder takes as many looks as that makes.
_LOOK_SECONDS = 0.01
#: Between the end of one measurement and the beginning of the next.
_REST_SECONDS = 1.0


def free_bytes(place: Path) -> int:
    """What others than root may still write on the disk of `place`, in bytes. Raises OSError."""
    found = os.statvfs(place)
    return found.f_bavail * found.f_frsize


def in_words(size: int) -> str:
    """A number of bytes for people, like 512 MiB or 1.5 GiB."""
    return f"{size / (1 << 30):.1f} GiB".replace(".0 ", " ") if size >= 1 << 30 else f"{size >> 20} MiB"


def sizes(folder: Path) -> Iterator[int]:
    """Yield what each file below takes on the disk, in bytes. Other file systems are left out.

    Folders that a rootless build closed to its own subordinate users are not seen into.
    """
    device = os.lstat(folder).st_dev
    linked: set[int] = set()
    folders = [str(folder)]
    while folders:
        with contextlib.suppress(OSError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                try:
                    found = entry.stat(follow_symlinks=False)
                except OSError:  # removed meanwhile
                    continue
                if found.st_dev != device or (found.st_nlink > 1 and found.st_ino in linked):
                    continue
                if stat.S_ISDIR(found.st_mode):
                    folders.append(entry.path)
                elif found.st_nlink > 1:
                    linked.add(found.st_ino)
                yield found.st_blocks * 512


class DiskWatch:
    """Whether a build may go on, as far as its disk is concerned.

    `most`: bytes that its folder may take, 0 for no limit. `least`: bytes that must stay free on the disk, 0 for no limit.
    """

    def __init__(self, folder: Path, most: int, least: int) -> None:
        self.folder, self.most, self.least = folder, most, least
        self._measuring: Iterator[int] | None = None
        self._sum = 0
        self._next = 0.0

    def problem(self) -> dict[str, Any]:
        """{} while all is well, else how the build ends: {"outcome", and the figures of its sentence}. Raises OSError."""
        if self.least and (free := free_bytes(self.folder)) < self.least:
            return {"outcome": "disk_low", "free": free, "least": self.least}
        if self.most and (used := self._measure()) > self.most:
            return {"outcome": "disk_limit", "used": used, "most": self.most}
        return {}

    def is_full(self) -> bool:
        """Whether next to nothing can be written any more. Raises OSError."""
        return free_bytes(self.folder) < FULL_BYTES

    def _measure(self) -> int:
        """Go on measuring for an instant; returns what was found so far of what the folder takes."""
        until = time.monotonic() + _LOOK_SECONDS
        if until < self._next:
            return 0
        if self._measuring is None:
            self._measuring, self._sum = sizes(self.folder), 0
        for size in self._measuring:
            self._sum += size
            if self._sum > self.most or time.monotonic() > until:
                return self._sum
        self._measuring, self._next = None, time.monotonic() + _REST_SECONDS
        return self._sum
