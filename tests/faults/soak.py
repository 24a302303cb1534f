"""Builds and faults at random, and an audit of all that is left: `python -m tests.faults.soak --minutes 30 --seed 1`.

A careful script goes on asking for builds with an Idempotency-Key each, and asks again where it got no answer. Meanwhile whatever
a portal consists of and stands on is killed, stopped, locked or deleted, one thing after another and several at once. Then all is
mended, and `soak_audit` looks at every row, object and byte. The seed decides what happens in which order; when, the machine.

Needs a cluster (KUBECONFIG); with TEST_CLUSTER_CONTROL set, that cluster's own parts are killed too.
"""

from __future__ import annotations

import argparse
import contextlib
import heapq
import itertools
import os
import random
import signal
import sys
import tempfile
import time
import urllib.error
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from runners.backends.kubernetes_api import ApiError
from tests.faults.soak_audit import Build, audit
from tests.support.cluster_control import VARIABLE, ClusterControl
from tests.support.fault_site import ENDED, Fault, Site, Stand, site
from tests.support.portal import Answer
from tests.support.waiting import until

#: So many builds at once: two cores can do no more.
ACTIVE = 6
WATCHERS = 2
#: How long the API server stays after it was away, in seconds: scheduler and controllers ask a new one only after half a minute.
API_STAYS = 120
#: How long after the last fault every build must have its outcome, and its output its place, in seconds.
MENDED = 420

_WORDS = "the quick brown fox jumps over the lazy dog, " * 2
BRANCHES = {
    "short": 'RUN i=0; while [ $i -lt 8 ]; do i=$((i+1)); echo "tick $i of 8"; /bin/busybox usleep 150000; done\n',
    "long": 'RUN i=0; while [ $i -lt 150 ]; do i=$((i+1)); echo "tick $i of 150"; /bin/busybox usleep 100000; done\n',
    # 4 MB: the kubelet's first rotation is at 10 MiB, so nothing may be missing whoever is away.
    "loud": f"RUN /bin/busybox awk 'BEGIN {{ for (i = 1; i <= 40000; i++) printf \"tick %d of 40000 {_WORDS}\\n\", i }}'\n",
    "broken": 'RUN echo "tick 1 of 1"; exit 7\n',
    "odd": r"RUN printf 'caf\351 \000 \033[31mred\033[0m 50%%\r100%%\r\n\ttick 1 of 1\nno newline at the end'" + "\n",
}
#: What takes minutes takes seconds here.
FASTER = {"runners.launch.LAUNCH_SECONDS": 4, "runners.watcher.ARCHIVE_SECONDS": 1, "runners.watcher.RECONCILE_SECONDS": 90}
FAULT_NOTHING = Fault(0, constants=FASTER)


@dataclass
class Soak:
    """One portal under fire. What is broken for a while is mended by what `later` holds."""

    stand: Stand
    chance: random.Random
    control: ClusterControl | None
    pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(8))
    builds: list[Build] = field(default_factory=list)
    asked: dict[Future[Answer | None], Build] = field(default_factory=dict)
    later: list[tuple[float, int, str, Callable[[], Any]]] = field(default_factory=list)
    away: set[str] = field(default_factory=set)  # what is broken now
    deleted: dict[str, set[str]] = field(default_factory=dict)  # of which Jobs what was deleted: jobs, pods, secrets
    api_since: float = -API_STAYS  # time.monotonic() when the API server came back
    done: Counter[str] = field(default_factory=Counter)
    numbers: Any = field(default_factory=itertools.count)

    # The loop

    def run(self, seconds: float) -> None:
        """Do something at random about once a second for so long, then mend everything."""
        self.stand.portal.start_web()
        for _ in range(WATCHERS):
            self.stand.portal.start_watcher(FAULT_NOTHING)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._catch_up()
            what, act = self._choose()
            if act():
                self.done[what] += 1
                print(f"{seconds - (end - time.monotonic()):6.1f} s  {what}", flush=True)
            time.sleep(self.chance.uniform(0.2, 1.5))
        print("     end  everything is mended", flush=True)
        self.mend()

    def mend(self) -> None:
        """Bring back all that is away, and wait until every build has its answer, its outcome and its archive."""
        for _, _, _, bring_back in sorted(self.later):
            bring_back()
        self.later.clear()
        until(lambda: self._catch_up() or not self.asked, 120, self.stand.portal.logs)
        for build in self.builds:
            if build.event_id is None:
                build.take(until(lambda build=build: self._ask(build), 60, self.stand.portal.logs, every=1))
        left = MENDED + time.monotonic()
        for build in self.builds:
            assert build.event_id is not None
            self.stand.portal.ended(build.event_id, left - time.monotonic())
            until(partial(self._is_at_rest, build.event_id), left - time.monotonic(), self.stand.portal.logs, every=0.5)
        self.pool.shutdown()

    def _is_at_rest(self, event_id: int) -> bool:
        run = self.stand.runs(event_id)[-1]
        known = self.stand.portal.get(f"/job/{run['id']}/output/status/")
        return known.status == 404 or bool(known.json["archived"] or not known.json["size"])

    def _catch_up(self) -> None:
        while self.later and self.later[0][0] <= time.monotonic():
            heapq.heappop(self.later)[3]()
        for asked in [asked for asked in self.asked if asked.done()]:
            build, answer = self.asked.pop(asked), asked.result()
            if answer is None or not build.take(answer):
                self.asked[self.pool.submit(self._ask_soon, build)] = build

    def _choose(self) -> tuple[str, Callable[[], bool]]:
        weighed: list[tuple[int, str, Callable[[], bool]]] = [
            (12, "a check", self.check),
            (2, "one check thrice at once", lambda: self.check(3)),
            (3, "a build is cancelled", self.cancel),
            (3, "a failed build is retried", self.retry),
            (5, "a watcher is killed", lambda: self.watcher(signal.SIGKILL)),
            (2, "a watcher is told to stop", lambda: self.watcher(signal.SIGTERM)),
            (3, "a watcher stands still", self.stop_watcher),
            (2, "the web server is killed", self.kill_web),
            (1, "the database is killed", self.kill_database),
            (1, "the database is locked", self.lock_database),
            (1, "a Job is deleted", lambda: self.delete("jobs")),
            (1, "a pod is deleted", lambda: self.delete("pods")),
            (1, "a Secret is deleted", lambda: self.delete("secrets")),
        ]
        if self.control:
            weighed += [(1, "the API server is killed", self.kill_api), (1, "etcd forgets its history", self.compact)]
        weight, *_ = zip(*weighed, strict=True)
        _, what, act = self.chance.choices(weighed, weight)[0]
        return what, act

    def _after(self, what: str, seconds: float, bring_back: Callable[[], Any]) -> None:
        self.away.add(what)

        def back() -> None:
            bring_back()
            self.away.discard(what)

        heapq.heappush(self.later, (time.monotonic() + seconds, next(self.numbers), what, back))

    # What users do

    def check(self, times: int = 1) -> bool:
        """A careful script's check, the same one several times at once."""
        if len([build for build in self.builds if not self._has_ended(build)]) >= ACTIVE:
            return False
        build = Build(f"soak-{next(self.numbers)}", self.chance.choice(list(BRANCHES)))
        self.builds.append(build)
        for _ in range(times):
            self.asked[self.pool.submit(self._ask, build)] = build
        return True

    def cancel(self) -> bool:
        """Cancel any build that has not ended; the answer may be lost."""
        known = [build for build in self.builds if build.event_id and not self._has_ended(build)]
        if not known:
            return False
        build = self.chance.choice(known)
        build.may_be_cancelled = True
        self._post(f"/event/{build.event_id}/cancel/")
        return True

    def retry(self) -> bool:
        """Retry any build that failed; it has one run more if the portal took it."""
        known = [build for build in self.builds if build.event_id and build.last_seen == "4" and not build.may_be_retried]
        if not known:
            return False
        build = self.chance.choice(known)
        build.may_be_retried, build.last_seen = True, ""
        self._post(f"/event/{build.event_id}/retry/")
        return True

    def _ask(self, build: Build) -> Answer | None:
        with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
            return self.stand.check(build.branch, key=build.key)
        return None

    def _ask_soon(self, build: Build) -> Answer | None:
        time.sleep(2)
        return self._ask(build)

    def _post(self, path: str) -> None:
        with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
            answer = self.stand.portal.post(path, {})
            assert answer.status in (200, 202, 409, 503), (path, answer.status, answer.body)

    def _has_ended(self, build: Build) -> bool:
        if build.last_seen in ENDED:
            return True
        answer = build.event_id and not {"web", "database"} & self.away and self.stand.portal.patient(f"/event/{build.event_id}/")
        if answer:
            build.last_seen = answer.json["status"]
        return build.last_seen in ENDED

    # What happens to the portal

    def watcher(self, number: signal.Signals) -> bool:
        """One watcher ends now; another comes some seconds later."""
        watching = [each for each in self.stand.portal.watchers if each.poll() is None]
        if not watching:
            return False
        ended = self.chance.choice(watching)
        ended.send_signal(number)
        self.stand.portal.watchers.remove(ended)

        def another() -> None:
            ended.send_signal(signal.SIGCONT)
            assert ended.wait(30) in (0, -number), f"a watcher ended with {ended.returncode}"
            self.stand.portal.start_watcher(FAULT_NOTHING)

        self._after(f"watcher {ended.pid}", self.chance.uniform(0.1, 12), another)
        return True

    def stop_watcher(self) -> bool:
        """SIGSTOP for up to 40 s, longer than its claims last; it wakes in the middle of what it did."""
        watching = [each for each in self.stand.portal.watchers if each.poll() is None]
        if not watching:
            return False
        chosen = self.chance.choice(watching)
        chosen.send_signal(signal.SIGSTOP)
        self._after(f"stopped {chosen.pid}", self.chance.uniform(1, 40), lambda: chosen.send_signal(signal.SIGCONT))
        return True

    def kill_web(self) -> bool:
        """SIGKILL, whatever it is answering."""
        if self.away & {"web", "database"}:
            return False
        assert self.stand.portal.web is not None
        self.stand.portal.end(self.stand.portal.web)
        self._after("web", self.chance.uniform(0.1, 6), self._start_web)
        return True

    def _start_web(self) -> None:
        # Its start waits for an answer, so the database must be there.
        if "database" in self.away:
            self._after("web again", 2, self._start_web)
        else:
            self.stand.portal.start_web()

    def kill_database(self) -> bool:
        """MariaDB is killed as by a crash."""
        if self.away & {"web", "database", "web again"}:
            return False
        mariadb = self.stand.site.mariadb
        mariadb.kill()

        def back() -> None:
            mariadb.start()
            mariadb.wait()

        self._after("database", self.chance.uniform(0.5, 8), back)
        return True

    def lock_database(self) -> bool:
        """Another tool holds the tables that the portal writes most."""
        if self.away & {"web", "database", "web again"}:
            return False
        lock = self.stand.site.mariadb.connect(self.stand.database)
        with lock.cursor() as cursor:
            cursor.execute("LOCK TABLES event WRITE, runner WRITE, output WRITE")
        self._after("database", self.chance.uniform(0.5, 8), lock.close)
        return True

    # What happens in the cluster

    def delete(self, kind: str) -> bool:
        """Somebody deletes an object of a build that is under way."""
        space = self.stand.site.shop.space
        selector = {"labelSelector": "ci-portal/run-uid"}
        try:
            found = space.admin.request("GET", space.path(kind), query=selector)[0]["items"]
            mine = [item["metadata"] for item in found if self._is_active(item)]
            if not mine:
                return False
            chosen = self.chance.choice(mine)
            owner = chosen["name"] if kind == "jobs" else chosen["ownerReferences"][0]["name"]
            self.deleted.setdefault(owner, set()).add(kind)  # before: its end may be seen at once
            space.delete(kind, chosen["name"])
        except ApiError:
            return False
        return True

    @staticmethod
    def _is_active(item: dict[str, Any]) -> bool:
        status = item.get("status", {})
        return status.get("phase") not in ("Succeeded", "Failed") and not status.get("conditions") or "phase" in status

    def kill_api(self) -> bool:
        """The API server is away for up to 20 s."""
        assert self.control
        if "API server" in self.away or time.monotonic() < self.api_since + API_STAYS:
            return False
        self.control.kill("kube-apiserver")
        self._after("API server", self.chance.uniform(1, 20), self._start_api)
        return True

    def _start_api(self) -> None:
        assert self.control
        self.control.start()
        self.api_since = time.monotonic()

    def compact(self) -> bool:
        """Watches that were cut off get a 410."""
        assert self.control
        if "API server" in self.away:
            return False
        self.control.compact()
        return True


def soak(place: Site, seed: int, seconds: float, control: ClusterControl | None = None) -> str:
    """Run one portal under fire and audit it; returns what happened, for people. Raises AssertionError with all that is wrong."""
    for name, step in BRANCHES.items():
        place.branch(name, step)
    with place.portal() as stand:
        fire = Soak(stand, random.Random(seed), control)
        fire.run(seconds)
        said = audit(stand, fire.builds, fire.deleted)
    happened = "".join(f"{number:6d}  {what}\n" for what, number in fire.done.most_common())
    return f"{happened}{said}"


def main() -> int:
    """Soak as the arguments say; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=30, help="how long, without the audit (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 31), help="default: another each time")
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    with tempfile.TemporaryDirectory() as name, site(Path(name)) as place:
        script = os.environ.get(VARIABLE)
        control = ClusterControl(script, os.environ["KUBECONFIG"], Path(name)) if script else None
        try:
            print(soak(place, arguments.seed, arguments.minutes * 60, control))
        except AssertionError as error:
            print(f"{error}\nseed {arguments.seed}: not in order", file=sys.stderr)
            return 1
        finally:
            if control:
                control.heal()
    print(f"seed {arguments.seed}: every row, object and byte is in order")
    return 0


if __name__ == "__main__":
    sys.exit(main())
