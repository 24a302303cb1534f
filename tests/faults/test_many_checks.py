"""Many checks at once, over uWSGI and MariaDB: of identical ones one build, of different ones each its own, and all end."""

import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.error import URLError

import pytest

from tests.faults.conftest import times
from tests.support.fault_site import FaultyPortal, Site, Stand
from tests.support.portal import ROOT, Answer
from tests.support.uwsgi_portal import descendants
from tests.support.waiting import until

pytestmark = [pytest.mark.needs_cluster, pytest.mark.needs_mariadb, pytest.mark.needs_uwsgi, pytest.mark.faults]

IDENTICAL = 50
#: How many run at once.
AT_ONCE = 8
#: Of so many checks one is of a commit that builds; the others' have no Dockerfile, which ends them sooner.
BUILDS_ONE_IN = 10


class Production(FaultyPortal):
    """Served by uWSGI, which keeps the watcher running."""

    def start_web(self, *_, **environment: str) -> subprocess.Popen[bytes]:
        listening = {"UWSGI_HTTP_SOCKET": f"127.0.0.1:{self.port}", "UWSGI_PROCESSES": "2"}
        command = [str(Path(sys.executable).parent / "uwsgi"), "--ini", str(ROOT / "uwsgi.ini")]
        with (self.folder / "uwsgi.log").open("ab") as log:
            self.web = subprocess.Popen(
                command, cwd=self.folder, env={**self.environment, **listening}, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        until(self.answers, 60, self.logs)
        return self.web


@pytest.fixture(scope="module")
def stand(place: Site) -> Iterator[Stand]:
    with place.portal(of=Production, build={"max_running": AT_ONCE}) as made:
        made.portal.start_web()
        yield made


@contextmanager
def without_watcher(stand: Stand) -> Iterator[None]:
    """No build ends in the block: however slowly the machine answers, what is asked first is active still when the last asks."""
    (watcher,) = [
        pid for pid in descendants(stand.portal.web.pid) if b"manage.py\0watch" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    os.kill(watcher, signal.SIGSTOP)
    yield
    os.kill(watcher, signal.SIGCONT)


def check(stand: Stand, branch: str) -> Answer:
    """As a careful script asks: again with the same Idempotency-Key where no answer came in time."""
    key = f"{branch} {secrets.token_hex(4)}"
    for _ in range(5):
        with suppress(TimeoutError, URLError):
            return stand.check(branch, key, force=False)
    raise AssertionError(stand.portal.logs())


def test_fifty_identical_checks_at_once_are_one_build_that_all_fifty_answers_name(stand: Stand):
    with without_watcher(stand), ThreadPoolExecutor(IDENTICAL) as pool:
        answers = list(pool.map(lambda _: check(stand, "main"), range(IDENTICAL)))
    assert sorted(answer.status for answer in answers) == [200] * (IDENTICAL - 1) + [202]
    (event_id,) = {answer.json["event"]["id"] for answer in answers}
    stand.audit(event_id)
    assert len(stand.runs(event_id)) == 1


def test_many_different_checks_at_once_all_end_with_their_own_outcome(stand: Stand):
    number = times(ci=200, soak=200)
    builds = [n % BUILDS_ONE_IN == 0 for n in range(number)]
    for n, right in enumerate(builds):
        content = {"Dockerfile": f"FROM scratch\nCOPY Dockerfile /\nLABEL number={n}\n"} if right else {"readme": f"number {n}"}
        stand.site.application.commit(content, branch=f"many-{n}")
    with ThreadPoolExecutor(number) as pool:
        answers = list(pool.map(lambda n: check(stand, f"many-{n}"), range(number)))
    assert [answer.body for answer in answers if answer.status != 202] == []
    events = [answer.json["event"]["id"] for answer in answers]
    assert len(set(events)) == number
    for event_id, right in zip(events, builds, strict=True):
        event = stand.portal.ended(event_id, 60 + 3 * number)
        assert event["status"] == ("3" if right else "4"), event["reason"]
        assert right or "no file Dockerfile" in event["reason"]
        (run,) = stand.runs(event_id)
        assert stand.site.census.of(run["name"]) == (1, 1)
