"""What waits is launched, the oldest first, and none that can't be launched keeps the others waiting."""

import pytest
from django.db import InterfaceError, OperationalError

from repos.models import Repository
from runners import launch as launching
from runners import watcher as watching
from runners.backends.base import Held, Refused, Unreachable
from runners.launch import launch
from runners.models import Run, new_uid
from runners.record import BuildSettings, Source, record
from runners.watcher import Watcher

pytestmark = pytest.mark.django_db


class Place:
    """Takes every build but those of some repositories; what a local backend does for a host that has no address now."""

    name = "local"
    place = ""
    launches_in_request = False

    def __init__(self) -> None:
        self.fails: dict[str, Exception] = {}
        self.launched: list[str] = []

    def launch(self, spec, secrets) -> None:
        if error := self.fails.get(spec.repo_name):
            raise error
        self.launched.append(spec.repo_name)


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Place:
    place = Place()
    monkeypatch.setattr(launching, "backend_named", lambda name: place)
    monkeypatch.setattr(watching, "close_old_connections", lambda: None)  # it is the test's own that the launches use here
    return place


@pytest.fixture
def limit(settings):
    def set_to(number: int) -> None:
        build = settings.PORTAL.build.model_copy(update={"backend": "local", "max_running": number})
        settings.PORTAL = settings.PORTAL.model_copy(update={"build": build})

    set_to(4)
    return set_to


@pytest.fixture
def recorded(limit):
    def one(name: str, **columns) -> Run:
        repository = Repository.objects.create(repo_name=name, repo=f"https://git.example/{name}.git")
        run = record(repository, Source("refs/heads/main", "c" * 40), BuildSettings(), "ann")[1]
        Run.objects.filter(pk=run.pk).update(**columns)
        run.refresh_from_db()
        return run

    return one


def rounds(place: Place, number: int) -> None:
    watcher = Watcher(place)
    for _ in range(number):
        watcher._launch(watcher._waiting())


@pytest.mark.parametrize("number", [1, 4])
def test_a_run_that_cannot_be_launched_now_keeps_no_other_waiting(place, recorded, limit, number):
    limit(number)
    stuck, other = recorded("stuck"), recorded("other")
    place.fails["stuck"] = Unreachable("the host of stuck has no address")
    rounds(place, 2)
    other.refresh_from_db()
    stuck.refresh_from_db()
    assert place.launched == ["other"]
    assert (other.status, stuck.status) == ("launching", "waiting")


def test_what_could_not_be_launched_is_tried_again(place, recorded):
    recorded("stuck")
    place.fails["stuck"] = Unreachable("not now")
    watcher = Watcher(place)
    watcher._launch(watcher._waiting())
    place.fails.clear()
    watcher._launch(watcher._waiting())
    assert place.launched == ["stuck"]


def test_for_want_of_room_the_order_stays(place, recorded, limit):
    limit(1)
    running = recorded("running")
    rounds(place, 1)
    recorded("older"), recorded("younger")
    watcher = Watcher(place)
    for _ in range(3):
        watcher._launch(watcher._waiting())
    running.refresh_from_db()
    running.finish(Run.FAILED, reason="over")
    watcher._launch(watcher._waiting())
    assert place.launched == ["running", "older"]


def test_a_request_does_not_overtake_those_that_wait(place, recorded, limit):
    limit(1)
    recorded("older")
    younger = recorded("younger")
    assert launch(younger, "a request").status == Run.WAITING


def test_runs_of_another_backend_take_no_place(place, recorded, limit):
    limit(1)
    recorded("elsewhere", backend="kubernetes")
    recorded("there", backend="kubernetes", status=Run.RUNNING)
    here = recorded("here")
    assert launch(here, "a request").status == Run.LAUNCHING


def test_what_is_unexpected_is_told_and_tried_again_later(place, recorded):
    run = recorded("odd")
    place.fails["odd"] = OSError("no such file: known_hosts")
    launch(run, "a request")
    assert run.status == Run.LAUNCHING
    assert run.reason == "It could not be launched; the portal's log says more. It is tried again every minute."
    assert run.claimed_until is not None


def test_what_is_refused_ends_as_failed(place, recorded):
    run = recorded("bad")
    place.fails["bad"] = Refused("No such certificate.")
    assert (launch(run, "a request").status, run.reason) == (Run.FAILED, "No such certificate.")


def test_launches_that_were_begun_are_gone_on_with_though_there_is_less_room_now(place, recorded, limit):
    limit(1)
    begun = [recorded(name, status=Run.LAUNCHING, claimed_until="2026-01-01T00:00Z") for name in ("a", "b")]
    for run in begun:
        launch(run, "me", in_turn=True)
    assert sorted(place.launched) == ["a", "b"]


@pytest.mark.parametrize(("finished", "expected"), [(False, "deleted"), (True, "settled")])
def test_what_was_launched_too_late_for_its_run_is_ended(place, recorded, monkeypatch, finished: bool, expected: str):
    run, done = recorded("slow"), []

    def meanwhile(spec, secrets) -> None:
        other = Run.objects.get(pk=run.pk)
        other.finish(Run.CANCELLED, reason="Cancelled by ann.")

    monkeypatch.setattr(place, "launch", meanwhile)
    place.inventory = lambda: [Held(run.uid, run.name, finished=finished), Held(new_uid(), "other-1")]
    place.delete = lambda spec: done.append(f"{spec.name} deleted")
    place.settled = lambda spec: done.append(f"{spec.name} settled")
    launch(run, "me")
    assert (Run.objects.get(pk=run.pk).status, done) == (Run.CANCELLED, [f"{run.name} {expected}"])


@pytest.mark.parametrize("error", [OperationalError(2013, "Lost connection"), InterfaceError(0, "")])
def test_where_the_database_is_lost_in_a_launch_a_pass_takes_back_what_may_have_come_too_late(place, recorded, caplog, error):
    recorded("app")
    place.fails["app"] = error
    watcher = Watcher(place)
    watcher.due["reconcile"] = watcher.reconciled + watching.RECONCILE_SECONDS
    watcher._launch(watcher._waiting())
    while not watcher.inbox.empty():
        watcher.inbox.get()()
    assert watcher.due["reconcile"] == watcher.reconciled + watching.RECONCILE_REST_SECONDS
    assert "launching: the database does not answer" in caplog.text
    assert "Traceback" not in caplog.text
