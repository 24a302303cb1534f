"""Two portals and two watchers on one database, beside one of each: the same checks, on simulated nodes."""

from __future__ import annotations

import itertools
import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from bench.check import register
from bench.many import PODS, clear, simulated
from bench.measure import Result, Series, Target, cpu_seconds
from bench.place import BenchPortal, Place, Plan
from tests.support.waiting import until

CHECKS = 200
REPOSITORIES = 10
CLIENTS = 8
SECONDS = 3  # that each pod pretends to run


def run(place: Place, plan: Plan) -> list[Result]:
    """The row. `size` is the number of checks."""
    checks = plan.sized(CHECKS, 20)
    commit = place.application.git("rev-parse", "refs/heads/main")
    report = json.dumps({"exit": 0, "commit": commit, "digest": place.shop.registry.push("bench/shared", layer=b"simulated")})
    pods = {**PODS, "pod_annotations": {"localcluster/seconds": str(1 if plan.quick else SECONDS), "localcluster/message": report}}
    space = place.shop.space
    with simulated(space), place.portal(kubernetes=pods) as one:
        one.wait_for_watcher()
        prefix = json.loads((one.folder / "configure_server.json").read_text())["registry"]["repository"]
        names = list(register(one, place, REPOSITORIES - 1))
        for name in names:
            place.shop.registry.push(f"{prefix}/{name}", layer=b"simulated")
        with one.beside() as other:
            other.wait_for_watcher()
            both = Work(place, [one, other])
            took = both.checks(names, checks)
            shares = both.shares()
        clear(space)
        alone = Work(place, [one])
        least = alone.checks(names, checks)
        clear(space)
    larger = max(shares.values()) / sum(shares.values())
    targets = [Target("the busier watcher's share ≤ 60 %", larger * 100, 60)]
    facts = {
        "runs of each watcher": " and ".join(str(number) for number in sorted(shares.values())),
        "CPU of each watcher": both.spent("watcher"),
        "of each server": both.spent("server"),
        "one of each": f"{alone.spent('watcher')} and {alone.spent('server')}",
        "a build takes": f"{alone.statements / checks:.0f} statements, {alone.written / checks / 1024:.0f} KiB of redo log",
    }
    return [Result("shared", f"{checks} checks, two of each", Series.of([took]), Series.of([least]), targets, facts, unit="s")]


class Work:
    """Checks that go to each of these portals in turn, and what their processes use for it."""

    def __init__(self, place: Place, portals: list[BenchPortal]) -> None:
        self.place, self.portals = place, portals
        self.processes = {"watcher": [site.watcher() for site in portals], "server": [site.server() for site in portals]}
        self.used: dict[str, list[float]] = {}
        self.statements = self.written = 0

    def checks(self, names: list[str], checks: int) -> float:
        """Send them, a few at a time, and wait for all outcomes; returns seconds."""
        before, counted = self._cpu(), self._counters()
        already = self._ask("SELECT COUNT(*) FROM event")[0][0]
        sites, repositories = itertools.cycle(self.portals), itertools.cycle(names)
        began = time.time()
        with ThreadPoolExecutor(CLIENTS) as clients:
            sent = [clients.submit(next(sites).checked, {"repo": next(repositories), "force": True}) for _ in range(checks)]
            for each in sent:
                each.result()
        until(lambda: not self._ask("SELECT COUNT(*) FROM event WHERE status IN ('1', '2')")[0][0], 280, every=0.25)
        self.used = {kind: [now - then for now, then in zip(self._cpu()[kind], before[kind], strict=True)] for kind in before}
        self.statements, self.written = (now - then for now, then in zip(self._counters(), counted, strict=True))
        succeeded, last = self._ask("SELECT SUM(status = '3'), UNIX_TIMESTAMP(MAX(finished_at)) FROM event")[0]
        assert succeeded == already + checks, (succeeded, self.portals[0].logs())
        return float(last) - began

    def shares(self) -> dict[str, int]:
        """Watcher → how many runs it brought to their end."""
        return {str(who): int(runs) for who, runs in self._ask("SELECT claimed_by, COUNT(*) FROM runner GROUP BY claimed_by")}

    def spent(self, kind: str) -> str:
        """Their CPU time, in words."""
        return " and ".join(f"{seconds:.1f} s" for seconds in self.used[kind])

    def _counters(self) -> tuple[int, int]:
        """Statements that MariaDB was asked, and bytes of its redo log, since it started."""
        found = dict(self._ask("SHOW GLOBAL STATUS WHERE Variable_name IN ('Questions', 'Innodb_lsn_current')"))
        return int(found["Questions"]), int(found["Innodb_lsn_current"])

    def _cpu(self) -> dict[str, list[float]]:
        return {kind: [cpu_seconds(pid) for pid in pids] for kind, pids in self.processes.items()}

    def _ask(self, statement: str) -> list[tuple[Any, ...]]:
        database = self.portals[0].database
        return self.place.mariadb.execute("SET time_zone = '+00:00'", statement, database=database)
