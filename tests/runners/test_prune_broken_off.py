"""A prune that is killed at any of its steps leaves nothing half removed that looks whole; the next one finishes it."""

import os
import re
import signal
import subprocess
import sys
import time
import traceback
from datetime import timedelta
from pathlib import Path

import pytest
from django.core.files.storage import default_storage
from django.db import connection, connections
from django.test import Client
from django.utils import timezone

from events.models import Event, IdempotencyKey
from logs.archive import archive
from logs.models import Log, Output, OutputChunk, OutputStream
from logs.output import read
from repos.credentials import store
from repos.models import Credential
from runners.housekeeping import prune
from runners.models import Run
from tests.runners.test_housekeeping import NOW, ended, folder, keep  # noqa: F401
from tests.support import rows
from tests.support.portal import ROOT, files_below

pytestmark = pytest.mark.django_db(transaction=True)

PRINTED = b"the first line\nthe second line\n"
MANY = 1200


@pytest.fixture
def stored(settings, tmp_path: Path) -> Path:
    """Finished output goes here."""
    place = {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": {"location": str(tmp_path / "output")}}
    settings.STORAGES = {**settings.STORAGES, "default": place}
    return tmp_path / "output"


@pytest.fixture
def scene(stored, monkeypatch):
    """Make two old events, one's output in a file and the other's in several rows, and a new one; once for each kill."""
    monkeypatch.setattr("logs.archive.CHUNKS", 1)

    def make():
        for model in (Event, Log):
            model.objects.all().delete()
        in_file, in_rows, _ = (ended(None, days, printed=PRINTED, repo="app") for days in (93, 92, 1))
        archive(Output.objects.get(run__event=in_file))
        output = Output.objects.get(run__event=in_rows)
        OutputChunk.objects.filter(output=output).delete()
        lines = [(start, PRINTED[start : start + 8]) for start in range(0, len(PRINTED), 8)]
        OutputChunk.objects.bulk_create(OutputChunk(output=output, start=start, data=data) for start, data in lines)
        store(Credential.REGISTRY, {"username": "u", "password": "p"}, run=in_rows.runs.get())
        IdempotencyKey.objects.create(key="k", request="r", event=in_rows, status=202)

    return make


def killed_at(step: int) -> bool:
    """Prune in a process that is killed just before its `step`th write, commit or deletion of a file; False: it took fewer."""
    connections.close_all()
    pid = os.fork()
    if pid == 0:
        try:
            _prune_and_die(step)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def _prune_and_die(step: int) -> None:
    left = step

    def count() -> None:
        nonlocal left
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)

    def execute(run, sql, params, many, context):
        if sql.startswith(("INSERT", "UPDATE", "DELETE")):
            count()
        return run(sql, params, many, context)

    commit, delete = connection.commit, default_storage.delete
    connection.commit = lambda: (count(), commit())
    connection.run_on_commit = []
    default_storage.delete = lambda name: (count(), delete(name))
    with connection.execute_wrapper(execute):
        list(prune(NOW))


def told(noun: str) -> int:
    """How many of them the history says are gone."""
    found = [re.match(rf"(\d+) {noun}s? older", line.msg) for line in Log.objects.all()]
    return sum(int(match[1]) for match in found if match)


def audit() -> None:
    """Nothing is without what it belongs to; what counts as kept is whole; the history tells what is gone."""
    events, runs = set(Event.objects.values_list("pk", flat=True)), set(Run.objects.values_list("pk", flat=True))
    assert set(Run.objects.values_list("event_id", flat=True)) == events
    assert set(Output.objects.values_list("run_id", flat=True)) == runs
    outputs = set(Output.objects.values_list("pk", flat=True))
    for model in (OutputStream, OutputChunk):
        assert set(model.objects.values_list("output_id", flat=True)) <= outputs
    assert set(Credential.objects.values_list("run_id", flat=True)) <= runs
    assert set(IdempotencyKey.objects.values_list("event_id", flat=True)) <= events
    for output in Output.objects.all():
        answer = Client().get(f"/job/{output.run_id}/output/")
        assert answer.status_code == (410 if output.removed_at else 200)
        assert output.removed_at or b"".join(read(output)) == PRINTED
    assert told("event") == 3 - len(events)


@pytest.mark.parametrize("kept", [{"section": "retention", "event_days": 90}, {"section": "output", "retention_days": 90}])
def test_a_prune_killed_at_any_step_is_finished_by_the_next(keep, scene, stored, kept):  # noqa: F811
    keep(**kept)
    step = 1
    scene()
    while killed_at(step):
        audit()
        list(prune(NOW))
        audit()
        gone = Event.objects.filter(finished_at__lt=NOW - timedelta(days=90))
        assert not Output.objects.filter(run__event__in=gone).exclude(removed_at__isnull=False, archive="").exists()
        assert not OutputChunk.objects.filter(output__removed_at__isnull=False).exists()
        assert (gone.count(), told("event"), told("output")) == ((0, 2, 0) if "event_days" in kept else (2, 0, 2))
        assert list(files_below(stored)) == []
        step += 1
        scene()
    assert step > 10


def test_two_prunes_at_once_remove_each_thing_once(keep, scene, stored):  # noqa: F811
    keep(event_days=90)
    for _ in range(5):
        scene()
        connections.close_all()
        pids = [_prune_in_a_process() for _ in range(3)]
        assert [os.waitpid(pid, 0)[1] for pid in pids] == [0, 0, 0]
        audit()
        assert (Event.objects.count(), told("event")) == (1, 2)
        assert list(files_below(stored)) == []


def _prune_in_a_process() -> int:
    pid = os.fork()
    if pid == 0:
        try:
            list(prune(NOW))
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    return pid


@pytest.fixture
def many(tmp_path):
    """More old events than are removed in a moment, and how the command is started on them."""
    app, at = rows.repository("app"), timezone.now() - timedelta(days=91)
    columns = {"repo": "app", "repository": app, "managed": True, "status": "3", "finished_at": at}
    Event.objects.bulk_create([Event(**columns) for _ in range(MANY)], batch_size=200)
    environment = {
        **os.environ,
        "CI_PORTAL_DATABASE__NAME": str(connection.settings_dict["NAME"]),
        "CI_PORTAL_OUTPUT__STORAGE": str(tmp_path / "output"),
        "CI_PORTAL_BUILD__FOLDER": str(tmp_path),
        "CI_PORTAL_RETENTION__EVENT_DAYS": "90",
    }
    return [sys.executable, "manage.py", "prune"], {"cwd": ROOT, "env": environment, "stdout": subprocess.PIPE, "text": True}


def signalled(many, number):
    """Start the command, send the signal once it has removed something; returns its exit code and what it said."""
    command, options = many
    process = subprocess.Popen(command, **options)
    before, until = Event.objects.count(), time.monotonic() + 60
    while Event.objects.count() == before:
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.01)
    process.send_signal(number)
    said, _ = process.communicate(timeout=20)
    return process.returncode, said


def test_the_command_ends_soon_when_it_is_asked_to_and_says_what_it_did(many):
    code, said = signalled(many, signal.SIGTERM)
    gone = MANY - Event.objects.count()
    assert code == 0
    assert 0 < gone < MANY
    assert f"Removed: events {gone};" in said
    assert "Stopped before the end" in said


def test_the_command_can_be_killed_and_run_again(many):
    code, _ = signalled(many, signal.SIGKILL)
    left = Event.objects.count()
    assert (code, 0 < left < MANY, told("event")) == (-signal.SIGKILL, True, MANY - left)
    command, options = many
    assert subprocess.run(command, **options, check=True).stdout.splitlines()[-1].startswith(f"Removed: events {left - 1};")
    assert (Event.objects.count(), told("event")) == (1, MANY - 1)
