"""Under build.max_running repositories take turns: many waiting runs of one hold up no other."""

from datetime import timedelta

import pytest
from django.utils import timezone

from events.models import Event
from repos.models import Repository
from runners.launch import launch
from runners.models import Run
from tests.runners.test_watcher_launches import Place, limit, place, rounds  # noqa: F401
from tests.support import rows

pytestmark = pytest.mark.django_db


@pytest.fixture
def runs_of(limit):  # noqa: F811
    """Runs of a repository, recorded now: `runs_of("a", 3)`."""

    def make(name: str, number: int = 1, **columns) -> list[Run]:
        repository = Repository.objects.filter(repo_name=name).first() or rows.repository(name)
        return [
            rows.run(rows.event(repository, name=f"{name}-{index}"), **{"backend": "local", "status": Run.WAITING, **columns})
            for index in range(number)
        ]

    return make


def order() -> list[str]:
    return [run.event.repo for run in Run.objects.in_fair_order().select_related("event")]


def test_repositories_take_turns(runs_of):
    runs_of("a", 3), runs_of("b", 2), runs_of("c", 1)
    assert order() == ["a", "b", "c", "a", "b", "a"]


def test_within_a_repository_the_oldest_is_first(runs_of):
    a = runs_of("a", 3)
    assert [run.pk for run in Run.objects.in_fair_order()] == [run.pk for run in a]


def test_a_repository_that_runs_already_comes_after_those_that_do_not(runs_of):
    runs_of("a", 2, status=Run.RUNNING), runs_of("a", 2), runs_of("b", 3)
    assert order() == ["b", "b", "a", "b", "a"]


def test_what_runs_on_another_backend_does_not_count(runs_of):
    runs_of("a", 2, status=Run.RUNNING, backend="kubernetes"), runs_of("a"), runs_of("b")
    assert order() == ["a", "b"]


def test_what_runs_or_has_ended_is_not_in_it(runs_of):
    for status in (Run.LAUNCHING, Run.RUNNING, *Run.FINAL):
        runs_of("a", status=status)
    assert order() == []


def test_a_launch_that_nobody_finished_is_in_it(runs_of):
    (lapsed,) = runs_of("a", status=Run.LAUNCHING, claimed_until=timezone.now() - timedelta(seconds=1))
    assert Run.objects.in_fair_order().get() == lapsed


def test_recorded_runs_are_not_in_it(runs_of):
    runs_of("a", managed=False)
    assert order() == []


def test_runs_of_a_repository_that_is_gone_take_turns_too(runs_of):
    runs_of("a", 2), runs_of("gone", 2)
    Event.objects.filter(repo="gone").update(repository=None)
    Repository.objects.get(repo_name="gone").delete()
    assert order() == ["a", "gone", "a", "gone"]


def test_what_is_to_be_cancelled_comes_first(runs_of):
    runs_of("a", 2)
    (called_off,) = runs_of("b")
    called_off.request_cancel("eve")
    assert order() == ["b", "a", "a"]


def test_a_thousand_checks_of_one_repository_hold_up_no_other(runs_of, limit, place):  # noqa: F811
    limit(2)
    running = runs_of("busy", 60)[:2]
    rounds(place, 1)
    runs_of("quiet")
    assert place.launched == ["busy", "busy"]
    Run.objects.get(pk=running[0].pk).finish(Run.FAILED, reason="over")
    rounds(place, 1)
    assert place.launched == ["busy", "busy", "quiet"]


def test_a_request_of_a_repository_whose_turn_it_is_launches_at_once(runs_of, limit, place):  # noqa: F811
    limit(2)
    runs_of("busy", 1, status=Run.RUNNING), runs_of("busy", 3)
    (quiet,) = runs_of("quiet")
    assert launch(quiet, "a request").status == Run.LAUNCHING


def test_a_request_of_a_repository_that_waits_already_does_not_jump_the_queue(runs_of, limit, place):  # noqa: F811
    limit(2)
    runs_of("quiet", 1, status=Run.RUNNING), runs_of("busy", 3)
    last = runs_of("busy")[-1]
    assert launch(last, "a request").status == Run.WAITING
    assert last.reason == "At most 2 builds run at once (build.max_running): it starts when its turn comes."


def test_many_that_cannot_be_launched_keep_no_other_waiting(runs_of, limit, place, monkeypatch):  # noqa: F811
    """More of them than the watcher looks at together."""
    from runners import watcher as watching
    from runners.backends.base import Unreachable

    monkeypatch.setattr(watching, "LAUNCHES", 3)
    for number in range(5):
        runs_of(f"stuck-{number}")
        place.fails[f"stuck-{number}"] = Unreachable("no address")
    runs_of("other")
    rounds(place, 6)
    assert place.launched == ["other"]
