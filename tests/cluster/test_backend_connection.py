"""Connections to the API server that break: nothing is lost, nothing comes twice, nothing is settled wrongly."""

import threading
import time

import pytest

from runners.backends.kubernetes import KubernetesBackend
from tests.support.cluster import DOCKERFILE, SECRETS, Cutter, Workshop, cksum, follow_to_end, wait_until

pytestmark = pytest.mark.needs_cluster

TALKS = {"Dockerfile": DOCKERFILE + "RUN for i in `/bin/busybox seq 1 60`; do echo line $i; /bin/busybox sleep 0.1; done\n"}


@pytest.fixture
def cutter(shop: Workshop, tmp_path):
    cutter = Cutter(shop.space.kubeconfig, tmp_path)
    yield cutter
    cutter.close()


@pytest.fixture
def backend(shop: Workshop, cutter: Cutter):
    backend = KubernetesBackend(shop.settings, cutter.kubeconfig)
    yield backend
    backend.close()


def told_of_every_run(backend: KubernetesBackend) -> None:
    """Wait until it says "look at every run"; single changes, of builds before this one, may come first."""
    deadline = time.monotonic() + 10
    while backend.changes(1) is not None:
        assert time.monotonic() < deadline


def test_a_build_is_followed_to_its_end_over_connections_that_break(shop: Workshop, cutter: Cutter, backend: KubernetesBackend):
    spec = shop.spec(TALKS, builder="buildah")
    backend.launch(spec, SECRETS)
    cuts, over = [], threading.Event()

    def keep_cutting():
        while not over.wait(0.7):
            cuts.append(cutter.cut())

    thread = threading.Thread(target=keep_cutting, daemon=True)
    thread.start()
    try:
        built = follow_to_end(backend, spec)
    finally:
        over.set()
        thread.join()
    assert sum(cuts) > 5
    assert built.state.problem == ""
    for container in backend.containers(spec):
        assert cksum(built.printed(container)) == [built.report(container)["cksum"], built.report(container)["bytes"]]


def test_after_the_connection_was_lost_it_says_look_at_every_run(shop: Workshop, cutter: Cutter, backend: KubernetesBackend):
    told_of_every_run(backend)  # after the first list
    cutter.cut()
    told_of_every_run(backend)


def test_what_ended_while_the_cluster_was_away_is_found_afterwards(shop: Workshop, cutter: Cutter, backend: KubernetesBackend):
    spec = shop.spec(TALKS, builder="buildah")
    backend.launch(spec, SECRETS)
    wait_until(backend, spec, lambda state: any(c.name == "build" and c.started_at for c in state.containers))
    cutter.refusing = True
    cutter.cut()
    shop.space.delete("jobs", spec.name)
    time.sleep(1)
    assert backend.state(spec).exists  # what is known stays known while nothing can be asked
    cutter.refusing = False
    state = wait_until(backend, spec, lambda state: not state.exists, 40)
    assert state.finished


def test_a_change_is_told_promptly(shop: Workshop):
    spec = shop.spec({"Dockerfile": DOCKERFILE}, builder="buildah")
    shop.backend.changes(1)
    started = time.monotonic()
    shop.backend.launch(spec, SECRETS)
    launched = time.monotonic()
    while spec.run_uid not in (shop.backend.changes(5) or ()):
        assert time.monotonic() < started + 10
    print(f"\nlaunch {1000 * (launched - started):.1f} ms, first news {1000 * (time.monotonic() - started):.1f} ms after it began")
    shop.backend.delete(spec)


def test_closing_ends_the_threads_at_once(shop: Workshop, cutter: Cutter):
    backend = KubernetesBackend(shop.settings, cutter.kubeconfig)
    backend.changes(5)
    started = time.monotonic()
    backend.close()
    assert time.monotonic() - started < 2
    assert not [thread for thread in backend.informer._threads if thread.is_alive()]
