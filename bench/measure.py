"""Timing, statistics and the table. Durations are in milliseconds."""

from __future__ import annotations

import math
import os
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Series:
    """Repeated measurements of one thing."""

    samples: tuple[float, ...]

    @classmethod
    def of(cls, samples: Iterable[float]) -> Series:
        """From any measurements; there must be one at least."""
        return cls(tuple(samples))

    def quantile(self, part: float) -> float:
        """The smallest sample that at least this part of all does not exceed."""
        ordered = sorted(self.samples)
        return ordered[max(0, math.ceil(part * len(ordered)) - 1)]

    @property
    def median(self) -> float:
        """The middle of all."""
        return statistics.median(self.samples)

    @property
    def p95(self) -> float:
        """What 95 of 100 do not exceed."""
        return self.quantile(0.95)

    @property
    def p99(self) -> float:
        """What 99 of 100 do not exceed."""
        return self.quantile(0.99)

    @property
    def iqr(self) -> float:
        """The distance between the quartiles: how much the middle half spreads."""
        return self.quantile(0.75) - self.quantile(0.25)

    def summary(self) -> dict[str, float]:
        """For the JSON."""
        named = {"median": self.median, "p95": self.p95, "p99": self.p99, "iqr": self.iqr, "max": max(self.samples)}
        return {"n": len(self.samples), **{name: round(value, 3) for name, value in named.items()}}


@dataclass(frozen=True)
class Target:
    """What is to be reached, and whether it was."""

    text: str
    value: float
    limit: float

    @property
    def reached(self) -> bool:
        """At or under the limit."""
        return self.value <= self.limit


@dataclass
class Result:
    """One line of the table: the portal beside its floor."""

    row: str
    what: str
    ours: Series
    floor: Series
    targets: list[Target] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    unit: str = "ms"

    @property
    def ratio(self) -> float:
        """The portal's median over the floor's."""
        return self.ours.median / self.floor.median if self.floor.median else math.inf

    def json(self) -> dict[str, Any]:
        """For the JSON."""
        targets = [asdict(target) | {"reached": target.reached} for target in self.targets]
        both = {"ours": self.ours.summary(), "floor": self.floor.summary(), "ratio": round(self.ratio, 3)}
        return {"row": self.row, "what": self.what, "unit": self.unit, **both, "targets": targets, "facts": self.facts}


def clock(work: Callable[[], Any]) -> float:
    """How long it takes."""
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000


def alternate(times: int, *works: Callable[[], float | None], warm: int = 1) -> list[Series]:
    """Do all in turn, so often, after `warm` rounds that do not count; each work returns its duration, or None to be clocked.

    Taking turns lets whatever else the machine does meanwhile fall on all alike; every other round goes backwards.
    """
    found: list[list[float]] = [[] for _ in works]
    for number in range(-warm, times):
        order = list(enumerate(works))
        for index, work in order if number % 2 else order[::-1]:
            told: list[float | None] = []
            took = clock(lambda work=work, told=told: told.append(work()))  # type: ignore[misc]
            if number >= 0:
                found[index].append(told[0] if told[0] is not None else took)
    return [Series.of(samples) for samples in found]


def paired(ours: Series, floor: Series) -> Series:
    """The difference of each two that were measured one after the other."""
    return Series.of(mine - least for mine, least in zip(ours.samples, floor.samples, strict=True))


def exponent(points: Sequence[tuple[float, float]]) -> float:
    """Of the power of the size that the cost grows with: the slope of a line through (size, cost), both as logarithms."""
    logs = [(math.log(size), math.log(cost)) for size, cost in points if size > 0 and cost > 0]
    if len(logs) < 2:
        return math.nan
    return statistics.linear_regression(*zip(*logs, strict=True)).slope


# Processes


def cpu_seconds(pid: int) -> float:
    """CPU time that a process used so far, 0 where it is gone.

    Its threads know it to the nanosecond; of those that have ended only the process does, in hundredths of a second.
    """
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return max((int(fields[11]) + int(fields[12])) / _TICKS, _of_threads(pid))
    return 0.0


def _of_threads(pid: int) -> float:
    total = 0
    for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with suppress(OSError):
            total += int(path.read_text().split()[0])
    return total / 1e9


def memory(pid: int, which: str = "VmHWM") -> float:
    """MiB of a process: VmHWM the most that it had, VmRSS what it has now."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(which + ":"):
                return int(line.split()[1]) / 1024
    return 0.0


# The table

_HEADINGS = ("row", "what", "floor (spread)", "portal (spread)", "ratio", "to reach", "")


def _shown(series: Series, unit: str) -> str:
    digits = 1 if series.median < 1000 else 0
    spread = f"p95 {series.p95:,.{digits}f}" if len(series.samples) >= 20 else f"±{series.iqr / 2:,.{digits}f}"
    return f"{series.median:,.{digits}f} {unit} ({spread})"


def _lines(result: Result) -> list[tuple[str, ...]]:
    first = (result.row, result.what, _shown(result.floor, result.unit), _shown(result.ours, result.unit), f"{result.ratio:.2f}")
    targets = [(f"{target.text}: {target.value:,.2f}", "yes" if target.reached else "NO") for target in result.targets]
    lines = [(*first, *(targets[0] if targets else ("", "")))]
    return lines + [("",) * 5 + target for target in targets[1:]]


def table(results: Iterable[Result]) -> str:
    """All results for a terminal, with what else was found below."""
    results = list(results)
    lines = [_HEADINGS, *(line for result in results for line in _lines(result))]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEADINGS))]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    text.insert(1, "  ".join("-" * width for width in widths))
    for result in results:
        if result.facts:
            text.append(f"{result.row}, {result.what}: " + ", ".join(f"{name} {value}" for name, value in result.facts.items()))
    return "\n".join(text)
