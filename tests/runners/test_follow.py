"""One run while a watcher holds it: when it is given up, and what is masked."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from queue import SimpleQueue

import pytest
from django.utils import timezone

from repos.models import Credential, Repository
from runners.backends.base import RunState
from runners.follow import Follow
from runners.models import Run
from runners.record import BuildSettings, Source, record

pytestmark = pytest.mark.django_db


class Cluster:
    """Says of every run what the test says."""

    name = "kubernetes"

    def __init__(self) -> None:
        self.told = RunState("", waiting="queued by Kueue in builds", queued=True)

    def containers(self, spec):
        return ("clone", "build")

    def state(self, spec) -> RunState:
        return self.told

    def delete(self, spec) -> None:
        """Nothing is there."""

    settled = delete


@pytest.fixture
def pool():
    with ThreadPoolExecutor(1) as pool:
        yield pool


@pytest.fixture
def run() -> Run:
    """Launched three hours ago; the time limit is one."""
    repository = Repository.objects.create(repo_name="app", repo="https://git.example/app.git")
    run = record(repository, Source("refs/heads/main", "c" * 40), BuildSettings(), "ann")[1]
    Run.objects.filter(pk=run.pk).update(status=Run.LAUNCHING, launched_at=timezone.now() - timedelta(hours=3))
    run.refresh_from_db()
    return run


def looked_at(run: Run, cluster: Cluster, pool: ThreadPoolExecutor) -> Run:
    Follow(run, cluster, SimpleQueue(), pool).look()
    run.refresh_from_db()
    return run


def test_a_run_that_waits_in_a_queue_of_the_cluster_is_not_given_up(run, pool):
    found = looked_at(run, Cluster(), pool)
    assert (found.status, found.reason) == (Run.LAUNCHING, "queued by Kueue in builds")


def test_its_time_begins_when_the_queue_lets_it_go(run, pool):
    cluster = Cluster()
    cluster.told = RunState("", waiting="waiting for the cluster to make its pod", began=timezone.now() - timedelta(minutes=1))
    assert looked_at(run, cluster, pool).status == Run.LAUNCHING


def test_it_is_given_up_when_its_time_is_long_over(run, pool):
    cluster = Cluster()
    cluster.told = RunState("", waiting="no node has room", began=timezone.now() - timedelta(hours=2))
    found = looked_at(run, cluster, pool)
    assert (found.status, found.reason) == (
        Run.FAILED,
        "It had not ended 120 s after its time limit of 3600 s, so the portal gave it up.",
    )


def test_the_login_of_the_registry_is_masked_though_that_of_git_cannot_be_read(run, pool, settings):
    registry = settings.PORTAL.registry
    login = {"address": "registry.example.com", "username": "pusher", "password": type(registry.password)("registry-s3cret")}
    settings.PORTAL = settings.PORTAL.model_copy(update={"registry": registry.model_copy(update=login)})
    Run.objects.filter(pk=run.pk).update(registory_add="registry.example.com")
    Credential.objects.create(repository=run.event.repository, kind=Credential.GIT, ciphertext="not-ours")
    run = Run.objects.select_related("event__repository").get(pk=run.pk)
    assert "registry-s3cret" in Follow(run, Cluster(), SimpleQueue(), pool).secrets
