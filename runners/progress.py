"""How far a run is, kept in its row while it goes on: when its parts began and ended, and what happened around it."""

from __future__ import annotations

import re
import time
from collections.abc import Collection
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from django.utils.dateparse import parse_datetime

from logs.masking import masked
from runners.backends.base import Piece, RunState
from runners.models import Notices, Run
from runners.outcome import merged, noted, phases

#: How often what happened around a run is stored while it goes on, seconds: a pod that starts tells six things in two.
NOTICES_SECONDS = 1.0


class PushMark:
    """When BuildKit, which builds and pushes in one container, began to push: by a line that no step of a build can print."""

    #: Of `--progress=plain`: what a step prints itself comes behind a time ("#7 0.123 …").
    #: A push that is over at once has only its closing line, with how long it took.
    LINE = re.compile(rb"(?:^|\n)#\d+ pushing layers(?: (?P<took>\d+\.\d+)s(?: done)?)?\s*(?:\n|$)")

    def __init__(self, known: dict[str, Any] | None) -> None:
        self.at: datetime | None = parse_datetime((known or {}).get("push", {}).get("started") or "")
        self._rest = b""

    def take(self, piece: Piece) -> None:
        """Look through the next bytes of the build's output."""
        if self.at:
            return
        data = self._rest + piece.data
        if b"pushing layers" in data and piece.printed_at and (line := self.LINE.search(data)):
            self.at = piece.printed_at - timedelta(seconds=float(line["took"] or 0))
        self._rest = data[data.rfind(b"\n", 0, -1) :][-64:] if data else b""


class Progress:
    """What is noted of one run while a watcher holds it. Nothing is kept that the row does not have."""

    def __init__(self, run: Run, secrets: Collection[str]) -> None:
        self.run, self.secrets = run, secrets
        self.push = PushMark(run.phases)
        self._stored: tuple[Any, ...] = ()
        self._stored_at = 0.0

    def took(self, container: str, piece: Piece) -> None:
        """A piece of the run's output came."""
        if container == "build" and self.run.builder == "buildkit":
            self.push.take(piece)

    def times(self, state: RunState) -> dict[str, dict[str, str]]:
        """When the run's parts began and ended, as far as it is known."""
        return merged(self.run.phases, phases(state, self.push.at))

    def note(self, state: RunState) -> None:
        """Store what is new of it."""
        times, placed_at = self.times(state), state.placed_at or self.run.placed_at
        if not state.finished and (times, placed_at) != (self.run.phases or {}, self.run.placed_at):
            self.run.progressed(times, placed_at)
        due = state.finished or time.monotonic() > self._stored_at + NOTICES_SECONDS
        if due and state.notices and state.notices != self._stored:
            said = masked("\0".join(notice.message.replace("\0", "") for notice in state.notices), self.secrets).split("\0")
            Notices.keep(self.run, [noted(replace(notice, message=text)) for notice, text in zip(state.notices, said, strict=True)])
            self._stored, self._stored_at = state.notices, time.monotonic()
