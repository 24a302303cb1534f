"""Cuts an output into what is folded together: each container, and the builder's steps in it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from logs.landmarks import Landmark

#: At most so many sections of one output; the rest of it is not folded.
LIMIT = 2000
#: So many lines that look like errors are kept to choose from.
_ERRORS = 5000
_ENDED = ("done", "cached", "failed", "cancelled")


@dataclass(slots=True)
class Section:
    """Lines `first` to `last`, counted from 0, of one step. BuildKit leaves a step and comes back to it: then it has several."""

    key: str
    first: int
    last: int | None  # None: still open
    title: str
    state: str = ""  # running, done, cached, failed, cancelled; "" where nobody said
    seconds: float | None = None
    at: int = 0  # when it began, in milliseconds since 1970; 0: unknown


@dataclass(slots=True)
class Found:
    """All sections, in order, and the line to jump to when the run failed."""

    sections: list[Section] = field(default_factory=list)
    first_error: int | None = None


def cut(landmarks: Iterable[Landmark], containers: list[int], lines: int, outcome: str, ended: int = 0) -> Found:
    """Make sections of these landmarks. `containers`: the lines at which containers begin; `outcome`: "" while the run goes on;
    `ended`: when it ended, in milliseconds since 1970, 0 where it has not."""
    cutter = _Cutter(sorted(containers))
    for mark in landmarks:
        cutter.take(mark)
    return cutter.finish(lines, outcome, ended)


class _Cutter:
    def __init__(self, containers: list[int]) -> None:
        self.found: list[Section] = []
        self.open: Section | None = None
        self.ends: dict[str, tuple[str, float | None, int]] = {}
        self.errors: list[int] = []
        self.containers = containers

    def take(self, mark: Landmark) -> None:
        while self.containers and mark.line >= self.containers[0]:
            self._close(self.containers.pop(0) - 1)
        if mark.kind == "begin":
            self._begin(mark)
        elif mark.kind in _ENDED:
            self.ends[mark.key] = (mark.kind, _seconds(mark.text), mark.line)
            if self.open and self.open.key == mark.key:
                self._close(mark.line)
        elif len(self.errors) < _ERRORS:
            self.errors.append(mark.line)

    def _begin(self, mark: Landmark) -> None:
        if self.open and self.open.key == mark.key and mark.key.startswith("#"):
            return
        self._close(mark.line - 1, mark.at)
        if len(self.found) < LIMIT:
            self.open = Section(mark.key, mark.line, None, mark.text, at=mark.at)
            self.found.append(self.open)

    def _close(self, line: int, at: int = 0) -> None:
        if self.open:
            self.open.last = max(line, self.open.first)
            if self.open.at and at and not self.open.key.startswith("#"):  # BuildKit tells by itself, to a tenth of a second
                self.open.seconds = (at - self.open.at) / 1000
            self.open = None

    def finish(self, lines: int, outcome: str, ended: int) -> Found:
        for at in self.containers:
            if at < lines:
                self._close(at - 1)
        last = self.open
        if outcome:
            self._close(lines - 1, ended)
        for section in self.found:
            if section.key in self.ends:
                section.state, section.seconds, _ = self.ends[section.key]
            elif section.last is None:
                section.state = "running"
            elif not section.key.startswith("#"):  # buildah goes on to the next step only when one went well
                went_on = section is not last or outcome == "succeeded"
                section.state = "done" if went_on else "failed" if outcome == "failed" else "cancelled"
        return Found(self.found, self._first_error() if outcome == "failed" else None)

    def _first_error(self) -> int | None:
        failed = [section for section in self.found if section.state == "failed"]
        said = [line for state, _, line in self.ends.values() if state == "failed"]
        for section in failed:
            for line in self.errors:
                if section.first < line <= (section.last or 0) and line not in said:
                    return line
        return min(said, default=None) if said else self.errors[0] if self.errors else None


def _seconds(text: str) -> float | None:
    number = text.strip().removesuffix("s")
    try:
        return float(number)
    except ValueError:
        return None
