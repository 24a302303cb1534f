"""What is kept of a run's progress: when its parts began, and what happened around it."""

from datetime import UTC, datetime, timedelta

import pytest

from runners.backends.base import ContainerState, Notice, Piece, RunState
from runners.models import Notices, Run
from runners.outcome import merged, noted, phases
from runners.progress import Progress, PushMark
from tests.support import rows

BEGIN = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
EXPORT = b"#9 exporting to image\n#9 exporting layers 0.1s done\n"


def at(seconds: float) -> datetime:
    return BEGIN + timedelta(seconds=seconds)


def step(name: str, started: float | None = None, finished: float | None = None) -> ContainerState:
    return ContainerState(name, None if started is None else at(started), None if finished is None else at(finished))


def notice(number: int = 1, *, seconds: float = 0, count: int = 1, message: str = "pulling", **fields: object) -> Notice:
    values = {"reason": "Pulling", "about": "clone", **fields}
    return Notice(uid=f"e{number}", at=at(seconds), since=BEGIN, message=message, count=count, **values)  # type: ignore[arg-type]


@pytest.fixture
def run(db: None) -> Run:
    return rows.run(rows.event(rows.repository(), status="2"), status="running")


def test_buildkits_push_begins_with_the_line_that_says_so():
    mark = PushMark(None)
    mark.take(Piece(EXPORT, "1", at(5)))
    assert mark.at is None
    mark.take(Piece(b"#9 pushing layers\n", "2", at(9)))
    mark.take(Piece(b"#9 pushing layers 2.0s done\n", "3", at(11)))
    assert mark.at == at(9)


def test_it_is_found_where_pieces_cut_the_line():
    mark = PushMark(None)
    for seconds, data in enumerate((EXPORT + b"#9 pus", b"hing lay", b"ers\n#9 pushing manifest")):
        mark.take(Piece(data, str(seconds), at(seconds)))
    assert mark.at == at(2)


def test_a_push_that_is_over_at_once_began_as_long_before_as_its_only_line_says():
    mark = PushMark(None)
    mark.take(Piece(b"#9 exporting layers done\n#9 pushing layers 2.0s done\n", "1", at(9)))
    assert mark.at == at(7)


@pytest.mark.parametrize("printed", [b"#7 0.123 pushing layers\n", b"pushing layers\n", b"say #9 pushing layers\n"])
def test_what_a_step_of_the_build_prints_begins_no_push(printed):
    mark = PushMark(None)
    mark.take(Piece(printed, "1", BEGIN))
    assert mark.at is None


def test_what_was_known_of_the_push_is_not_looked_for_again():
    mark = PushMark({"push": {"started": "2026-11-23T10:00:07Z"}})
    mark.take(Piece(b"#9 pushing layers\n", "1", at(9)))
    assert mark.at == at(7)


def test_the_push_takes_what_is_left_of_the_containers_time():
    found = phases(RunState("uid", containers=(step("clone", 0, 2), step("build", 2, 12))), at(9))
    assert found["build"] == {"started": "2026-11-23T10:00:02Z", "finished": "2026-11-23T10:00:09Z"}
    assert found["push"] == {"started": "2026-11-23T10:00:09Z", "finished": "2026-11-23T10:00:12Z"}


def test_a_push_container_tells_its_own_times():
    found = phases(RunState("uid", containers=(step("build", 2, 12), step("push", 12, 14))), at(9))
    assert found["build"]["finished"] == "2026-11-23T10:00:12Z"


def test_a_backend_that_forgot_the_pod_takes_nothing_back():
    known = {"clone": {"started": "a", "finished": "b"}, "build": {"started": "c"}}
    assert merged(known, {}) == known
    assert merged(known, {"build": {"started": "c", "finished": "d"}})["build"] == {"started": "c", "finished": "d"}


def test_the_row_tells_phases_and_placing_while_the_run_goes_on(run):
    Progress(run, ()).note(RunState("uid", containers=(step("clone", 3, 5), step("build", 5)), placed_at=at(1)))
    stored = Run.objects.get()
    assert stored.placed_at == at(1)
    assert stored.phases == {
        "clone": {"started": "2026-11-23T10:00:03Z", "finished": "2026-11-23T10:00:05Z"},
        "build": {"started": "2026-11-23T10:00:05Z"},
    }
    assert stored.status == Run.RUNNING


def test_nothing_new_costs_no_write(run, django_assert_num_queries):
    progress, state = Progress(run, ()), RunState("uid", containers=(step("clone", 3),), notices=(notice(),))
    progress.note(state)
    with django_assert_num_queries(0):
        progress.note(state)


def test_an_end_without_phases_keeps_what_is_known(run):
    Progress(run, ()).note(RunState("uid", containers=(step("clone", 3),)))
    run.finish(Run.FAILED, reason="It was lost.")
    assert Run.objects.get().phases == {"clone": {"started": "2026-11-23T10:00:03Z"}}


def test_notices_are_stored_once_with_their_latest_count(run):
    Notices.keep(run, [noted(notice(1)), noted(notice(2, seconds=1))])
    Notices.keep(run, [noted(notice(1, seconds=5, count=4))])
    assert [(item["uid"], item["count"]) for item in Notices.objects.get().items] == [("e2", 1), ("e1", 4)]


def test_only_the_latest_notices_are_kept(run):
    Notices.keep(run, [noted(notice(number, seconds=number)) for number in range(80)])
    assert [item["uid"] for item in Notices.objects.get().items] == [f"e{number}" for number in range(30, 80)]


def test_a_secret_in_a_notice_is_masked(run):
    told = (notice(1, message="pull of https://bob:hunter22-hunter22@host failed"), notice(2, message="fine"))
    Progress(run, ["hunter22-hunter22"]).note(RunState("uid", notices=told))
    messages = [item["message"] for item in Notices.objects.get().items]
    assert "hunter22" not in messages[0]
    assert messages[1] == "fine"


def test_notices_go_with_their_run(run):
    Notices.keep(run, [noted(notice())])
    run.delete()
    assert not Notices.objects.exists()
