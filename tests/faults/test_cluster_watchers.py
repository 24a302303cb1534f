"""Watchers killed fifty times while a build prints 55 MB: with another one there, not a byte is lost."""

import random
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.faults.cluster_scene import kill_a_watcher
from tests.faults.conftest import seeds
from tests.support.cluster import HOST
from tests.support.cluster_control import ClusterControl
from tests.support.fault_site import Fault, Site, Stand

pytestmark = [pytest.mark.needs_cluster, pytest.mark.needs_mariadb, pytest.mark.faults]

KILLS, WATCHERS = 50, 3
LINES, PARTS = 600_000, 100
#: Prints the lines of $part.
WORDS = "the quick brown fox jumps over the lazy dog, " * 2
PART = f'BEGIN {{ for (i = 0; i < {LINES // PARTS}; i++) printf "%06d {WORDS} \\n", part * {LINES // PARTS} + i }}'


class Gate(ThreadingHTTPServer):
    """Answers to the request for a part once that is allowed: so the build goes on as the kills do, however busy the machine is."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__((HOST, 0), Gatekeeper)
        self.allowed = 0
        self.changed = threading.Condition()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def allow(self, parts: int) -> None:
        """Let the first so many parts be printed."""
        with self.changed:
            self.allowed = parts
            self.changed.notify_all()


class Gatekeeper(BaseHTTPRequestHandler):
    """Holds a request up."""

    server: Gate

    def do_GET(self) -> None:
        with self.server.changed:
            self.server.changed.wait_for(lambda: int(self.path[1:]) <= self.server.allowed)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def gate() -> Iterator[Gate]:
    made = Gate()
    yield made
    made.allow(PARTS)
    made.shutdown()
    made.server_close()


@pytest.fixture(scope="module")
def roomy(cluster_control: ClusterControl) -> Iterator[None]:
    """No log is rotated meanwhile: what nobody has read before that can't be had any more, and is shown as a gap."""
    with cluster_control.kubelet_with(containerLogMaxSize="500Mi"):
        yield


@pytest.fixture
def stand(place: Site, roomy: None, gate: Gate) -> Iterator[Stand]:
    ask = f"/bin/busybox wget -q -O /dev/null http://{HOST}:{gate.server_port}/$part"
    step = f"{ask} && /bin/busybox awk -v part=$part '{PART}'"
    place.branch("parts", f"RUN part=1; while [ $part -le {PARTS} ]; do {step}; part=$((part+1)); done\n")
    with place.portal() as made:
        made.portal.start_web()
        yield made


@pytest.mark.parametrize("seed", seeds(ci=1, soak=5))
def test_fifty_five_megabytes_are_stored_whole_while_their_watcher_is_killed_fifty_times(
    stand: Stand, gate: Gate, chance: random.Random
):
    for _ in range(WATCHERS):
        stand.portal.start_watcher(Fault(number=0))
    event_id, run_id = stand.started("parts")
    for number in range(KILLS):
        gate.allow(PARTS * (number + 1) // (KILLS + 1))
        kill_a_watcher(stand, chance, of_run=run_id)
    assert stand.portal.event(event_id)["status"] in ("1", "2")  # all of them came while it ran
    gate.allow(PARTS)
    stand.audit(event_id)
    numbers = [int(number) for number in re.findall(rb"(\d{6}) the quick brown", stand.portal.output(run_id))]
    assert numbers == sorted(set(numbers))
    assert len(numbers) > LINES - 100  # BuildKit's display breaks off a line now and then to repeat the step's name
