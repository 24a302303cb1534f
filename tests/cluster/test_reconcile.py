"""Rows against a real cluster's Jobs and Secrets, with the portal's own Role and no more."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from queue import SimpleQueue

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from events.models import Event
from logs.models import Log
from runners import reconcile as reconciling
from runners import watcher as watching
from runners.backends.kubernetes import KubernetesBackend
from runners.backends.kubernetes_api import MERGE_PATCH
from runners.build import BuildSecrets, JobSettings
from runners.describe import build_spec
from runners.follow import Follow
from runners.models import Run, new_uid
from runners.reconcile import Kind, find, reconcile
from tests.support import rows
from tests.support.cluster import BUILDER_IMAGE, Cutter, Namespace, namespace

pytestmark = [pytest.mark.needs_cluster, pytest.mark.django_db]

LONG_AGO = timezone.now() - timedelta(hours=1)


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Namespace]:
    with namespace(tmp_path_factory.mktemp("cluster"), "ci-portal-reconcile") as made:
        yield made


@pytest.fixture
def backend(space: Namespace, monkeypatch: pytest.MonkeyPatch) -> Iterator[KubernetesBackend]:
    """Its Jobs name a queue that nobody serves, so that they stay as they are: suspended, and active."""
    backend = KubernetesBackend(JobSettings(space.name, BUILDER_IMAGE, BUILDER_IMAGE, queue="nobodys"), space.kubeconfig)
    monkeypatch.setattr(reconciling, "configured_backend", lambda: backend)
    monkeypatch.setattr(reconciling, "backend_named", lambda name: backend)
    yield backend
    for job in space.admin.request("GET", space.path("jobs"))[0]["items"]:
        space.delete("jobs", job["metadata"]["name"])
    backend.close()


def run(status: str, **columns) -> Run:
    times = {"launched_at": LONG_AGO, "finished_at": LONG_AGO if status in Run.FINAL else None}
    event = rows.event(rows.repository("exporter"), status=Run.EVENT_STATUS.get(status, "2"))
    return rows.run(event, **(times | {"status": status, "epoch": 1} | columns))


def launched(backend: KubernetesBackend, of: Run, **changes) -> str:
    """The name of the Job that a launch of this run makes."""
    spec = replace(build_spec(of), **changes)
    backend.launch(spec, BuildSecrets())
    return spec.name


def gone(ask: Callable[[], object]) -> bool:
    """Whether it is no more within ten seconds: the garbage collector takes what belongs to a Job after it."""
    deadline = time.monotonic() + 10
    while ask():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def history() -> list[tuple[str | None, str]]:
    return list(Log.objects.order_by("id").values_list("repository_id", "msg"))


def without_row(backend: KubernetesBackend, **changes) -> str:
    """The Job of a run that is in no row: the database was set back, or another tool deleted it."""
    uid = new_uid()
    return launched(backend, run(Run.RUNNING), run_uid=uid, name=f"exporter-{uid[:8]}", **changes)


def test_a_job_without_a_run_is_deleted_with_its_secret(space, backend):
    name = without_row(backend)
    Run.objects.all().delete()
    assert [(finding.kind, finding.done) for finding in reconcile(backend)] == [(Kind.WITHOUT_RUN, True)]
    assert gone(lambda: space.get("jobs", name))
    assert gone(lambda: space.get("secrets", name))
    assert history() == [("exporter", f"build {name} was removed from the kubernetes backend: there is no run for it")]


@pytest.mark.parametrize("installation", ["", "0123456789abcdef0123456789abcdef"])
def test_a_job_of_another_portal_or_of_before_the_label_is_not_touched(space, backend, installation):
    name = without_row(backend, installation=installation)
    Run.objects.all().delete()
    assert reconcile(backend) == []
    assert space.get("jobs", name)["metadata"].get("deletionTimestamp") is None
    assert space.get("secrets", name)


def test_the_active_job_of_a_run_that_has_ended_is_deleted(space, backend):
    over = run(Run.CANCELLED)
    name = launched(backend, over)
    assert [(finding.kind, finding.done) for finding in reconcile(backend, "ann")] == [(Kind.STILL_ACTIVE, True)]
    assert gone(lambda: space.get("jobs", name))
    assert gone(lambda: space.get("secrets", name))
    over.refresh_from_db()
    assert over.tidied_at is not None
    assert history() == [("exporter", f"run {name} has ended; its build, which had not, was removed")]
    assert find(backend) == []


def test_the_secret_that_is_left_of_a_run_goes_and_its_finished_job_stays(space, backend):
    over = run(Run.FAILED)
    name = launched(backend, over)
    end(space, name)
    assert [(finding.kind, finding.done) for finding in reconcile(backend)] == [(Kind.UNTIDIED, True)]
    assert space.get("secrets", name) is None
    assert space.get("jobs", name)
    assert history() == [("exporter", f"what was left of run {name} on the kubernetes backend was removed")]


def test_the_secret_of_a_launch_that_came_after_the_run_was_tidied_up_goes(space, backend):
    over = run(Run.SUCCEEDED, tidied_at=LONG_AGO, epoch=3)
    name = launched(backend, over)
    end(space, name)
    assert [finding.kind for finding in find(backend)] == [Kind.UNTIDIED]
    assert space.get("secrets", name), "asking whether it is there does not delete it"
    assert [(finding.kind, finding.done) for finding in reconcile(backend)] == [(Kind.UNTIDIED, True)]
    assert space.get("secrets", name) is None
    assert space.get("jobs", name)
    assert find(backend) == []


def test_what_the_watcher_and_the_next_launch_see_to_is_told_and_left(space, backend):
    lost = run(Run.RUNNING)
    missed = rows.run(lost.event, status=Run.RUNNING, launched_at=LONG_AGO, epoch=1)
    begun = rows.run(lost.event, status=Run.LAUNCHING, epoch=1, claimed_until=LONG_AGO)
    end(space, launched(backend, missed))
    launched(backend, begun)
    found = reconcile(backend)
    assert [(finding.kind, finding.name) for finding in found] == [
        (Kind.VANISHED, lost.name),
        (Kind.ENDED_UNSEEN, missed.name),
        (Kind.HALF_LAUNCHED, begun.name),
    ]
    assert (history(), {run.status for run in Run.objects.all()}) == ([], {Run.RUNNING, Run.LAUNCHING})
    assert space.get("jobs", missed.name)
    assert space.get("jobs", begun.name)


def test_the_watcher_ends_a_run_whose_job_is_gone(backend):
    lost = run(Run.RUNNING)
    Follow(lost, backend, SimpleQueue(), ThreadPoolExecutor(1)).look()
    lost.refresh_from_db()
    assert (lost.status, lost.reason) == (Run.FAILED, "The cluster has no trace of the build.")
    assert history() == [("exporter", f"run {lost.name} failed: {lost.reason}")]


def test_the_job_of_a_run_whose_event_was_deleted_goes(space, backend):
    orphan = run(Run.RUNNING)
    name = launched(backend, orphan)
    Event.objects.filter(pk=orphan.event_id)._raw_delete("default")
    assert [(finding.kind, finding.done) for finding in reconcile(backend)] == [(Kind.WITHOUT_EVENT, True)]
    assert gone(lambda: space.get("jobs", name))
    assert Run.objects.get(pk=orphan.pk).status == Run.FAILED


def test_a_job_that_was_made_anew_under_its_name_is_not_removed_for_the_old_one(space, backend):
    name = launched(backend, run(Run.RUNNING))
    before = next(held for held in backend.inventory() if held.name == name)
    assert not backend.remove(replace(before, identity="00000000-0000-0000-0000-000000000000"))
    assert space.get("jobs", name)["metadata"].get("deletionTimestamp") is None
    assert backend.remove(before)
    assert gone(lambda: space.get("jobs", name))
    assert not backend.remove(before)


def test_a_dry_run_changes_nothing(space, backend, capsys):
    orphan, over = without_row(backend), run_over(backend)
    call_command("reconcile", "--dry-run")
    assert capsys.readouterr().out.endswith(" found: 2 would be put right, 1 left to the watcher.\n")
    assert all(space.get(kind, name) for kind in ("jobs", "secrets") for name in (orphan, over))
    assert history() == []


def test_the_command_says_in_one_line_that_the_cluster_is_away(space, backend, tmp_path: Path, capsys):
    kubeconfig = tmp_path / "away.kubeconfig"
    text = Path(space.kubeconfig).read_text().splitlines()
    kubeconfig.write_text("\n".join("    server: https://127.0.0.1:1" if "server:" in line else line for line in text))
    backend.api.close()
    backend.api = type(backend.api)(str(kubeconfig))
    with pytest.raises(CommandError, match=r"^backend kubernetes: The cluster can't be reached: .*refused\.$"):
        call_command("reconcile")
    assert capsys.readouterr().out == ""


@pytest.mark.django_db(transaction=True)
def test_the_watcher_reconciles_when_the_cluster_is_back(space, backend, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(watching, "RECONCILE_REST_SECONDS", 0.2)
    cutter = Cutter(space.kubeconfig, tmp_path)
    through = KubernetesBackend(backend.settings, cutter.kubeconfig)
    monkeypatch.setattr(watching, "places", lambda: [through])
    watcher = watching.Watcher(through)
    thread = threading.Thread(target=watcher.watch_forever)
    thread.start()
    try:
        assert gone(lambda: not (watcher.reconciling and watcher.reconciling.done() and through.informer.wait_synced(0)))
        assert gone(lambda: watcher.due.get("reconcile", 0) < time.monotonic() + 500)  # the first passes are over
        name = without_row(backend)
        Run.objects.all().delete()
        assert space.get("jobs", name)["metadata"].get("deletionTimestamp") is None
        cutter.refusing = True
        assert cutter.cut()
        time.sleep(0.5)
        cutter.refusing = False
        assert gone(lambda: space.get("jobs", name))
    finally:
        watcher.stop()
        thread.join(20)
        cutter.close()


def test_more_jobs_than_one_answer_holds_are_all_seen(backend, monkeypatch):
    monkeypatch.setattr("runners.backends.kubernetes._PAGE", "2")
    names = {without_row_of(backend, number) for number in range(5)}
    assert {held.name for held in backend.inventory()} == names


def run_over(backend: KubernetesBackend) -> str:
    return launched(
        backend, rows.run(Event.objects.get(), status=Run.CANCELLED, finished_at=LONG_AGO, launched_at=LONG_AGO, epoch=1)
    )


def without_row_of(backend: KubernetesBackend, number: int) -> str:
    event = Event.objects.first() or rows.event(rows.repository("exporter"))
    return launched(backend, rows.run(event, uid=new_uid(), name=f"exporter-{number}"))


def end(space: Namespace, name: str) -> None:
    """Let the Job have ended, as its controller does once its pod has."""
    now = LONG_AGO.strftime("%Y-%m-%dT%H:%M:%SZ")  # within its time to live
    conditions = [
        {"type": kind, "status": "True", "reason": "Test", "message": "", "lastProbeTime": now, "lastTransitionTime": now}
        for kind in ("FailureTarget", "Failed")
    ]
    body = {"status": {"startTime": now, "conditions": conditions}}
    space.admin.request("PATCH", f"{space.path('jobs')}/{name}/status", body, content_type=MERGE_PATCH)
