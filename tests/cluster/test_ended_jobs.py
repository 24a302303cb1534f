"""Ended Jobs in the cluster: as many of each repository stay as is configured, and an event's own go with it."""

import time
from datetime import timedelta

import pytest
from django.utils import timezone

from events.models import Event
from runners.backend import backend_named
from runners.backends import manifest
from runners.housekeeping import prune
from runners.models import Installation, Run
from tests.support import rows
from tests.support.cluster import namespace

pytestmark = [pytest.mark.needs_cluster, pytest.mark.django_db]


@pytest.fixture
def space(tmp_path, settings):
    """A namespace of the configured cluster, with the portal's own Role."""
    with namespace(tmp_path, "ci-portal-prune") as space:
        portal = settings.PORTAL
        cluster = portal.kubernetes.model_copy(update={"kubeconfig": space.kubeconfig, "namespace": space.name})
        changed = {"kubernetes": cluster, "build": portal.build.model_copy(update={"backend": "kubernetes"})}
        settings.PORTAL = portal.model_copy(update=changed)
        yield space
        backend_named("kubernetes").close()


def keep(settings, **keys):
    retention = settings.PORTAL.retention.model_copy(update=keys)
    settings.PORTAL = settings.PORTAL.model_copy(update={"retention": retention})


def ended(space, of, ends=True, installation=None, **columns):
    """A run that has ended two hours ago, and its Job: of no pods, so that the cluster completes it at once, or suspended."""
    at = timezone.now() - timedelta(hours=2)
    event = rows.event(of, status="3", finished_at=at, image_tag=f"v{Event.objects.count()}")
    run = rows.run(event, **({"finished_at": at, "launched_at": at, "tidied_at": at, "epoch": 1} | columns))
    labels = {
        "app.kubernetes.io/managed-by": manifest.MANAGED_BY,
        manifest.RUN_UID: run.uid,
        manifest.INSTALLATION: installation or Installation.identity(),
    }
    pod = {"restartPolicy": "Never", "containers": [{"name": "none", "image": "none.example.com/none"}]}
    body = {
        "metadata": {"name": run.name, "labels": labels, "annotations": {manifest.REPOSITORY: of.repo_name}},
        "spec": {"completions": 0, "parallelism": 0, "template": {"spec": pod}}
        if ends
        else {"suspend": True, "template": {"spec": pod}},
    }
    space.create("jobs", body)
    time.sleep(1.1)  # Kubernetes tells the age of a Job in whole seconds
    return run


def jobs(space):
    items = space.admin.request("GET", space.path("jobs"))[0]["items"]
    return {job["metadata"]["name"] for job in items if "deletionTimestamp" not in job["metadata"]}


def all_have_ended(count):
    until = time.monotonic() + 30
    while sum(held.finished for held in backend_named("kubernetes").inventory()) < count:
        assert time.monotonic() < until, "the cluster does not complete Jobs without pods"
        time.sleep(0.2)


def test_the_newest_ended_jobs_of_each_repository_stay(space, settings):
    app, other = rows.repository("app"), rows.repository("other")
    old = [ended(space, app) for _ in range(2)]
    stay = [
        ended(space, app, ends=False),
        ended(space, app, installation="of-another-portal"),
        ended(space, app, tidied_at=None),
        ended(space, app, status=Run.RUNNING),
        ended(space, other),
        *(ended(space, app) for _ in range(2)),
    ]
    all_have_ended(len(old) + len(stay) - 1)
    assert not list(prune(timezone.now(), only=["jobs"]))
    keep(settings, job_count=2)
    assert {item.name for item in prune(timezone.now(), only=["jobs"], dry_run=True)} == {run.name for run in old}
    assert jobs(space) == {run.name for run in [*old, *stay]}
    assert {item.name for item in prune(timezone.now(), only=["jobs"])} == {run.name for run in old}
    assert jobs(space) == {run.name for run in stay}
    assert not list(prune(timezone.now(), only=["jobs"]))


def test_an_events_job_goes_with_it(space, settings):
    app = rows.repository("app")
    runs = [ended(space, app) for _ in range(2)]
    keep(settings, event_count=1)
    assert [item.key for item in prune(timezone.now())] == [runs[0].event_id]
    assert jobs(space) == {runs[1].name}


def test_a_cluster_that_is_away_keeps_the_event_for_the_next_prune(space, settings):
    app = rows.repository("app")
    runs = [ended(space, app) for _ in range(2)]
    keep(settings, event_count=1, job_count=1)
    unreachable = settings.PORTAL.kubernetes.model_copy(update={"context": "", "kubeconfig": str(_nowhere(space))})
    reachable = settings.PORTAL
    settings.PORTAL = reachable.model_copy(update={"kubernetes": unreachable})
    assert not list(prune(timezone.now()))
    backend_named("kubernetes").close()
    settings.PORTAL = reachable
    assert [item.key for item in prune(timezone.now())] == [runs[0].event_id]


def _nowhere(space):
    """The portal's kubeconfig, with a port on which nobody listens."""
    path = space.folder / "nowhere.kubeconfig"
    text = (space.folder / "portal.kubeconfig").read_text()
    lines = [
        line if "server:" not in line else line[: line.index("server:")] + "server: https://127.0.0.1:9"
        for line in text.splitlines()
    ]
    path.write_text("\n".join(lines))
    return path
