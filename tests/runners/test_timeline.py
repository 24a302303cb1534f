"""A run's time in parts, from what its row tells."""

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from runners.models import Run
from runners.timeline import failed_step, parts_of, progress, usual
from tests.support import rows

BEGIN = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)

pytestmark = pytest.mark.django_db


def at(seconds: float) -> datetime:
    return BEGIN + timedelta(seconds=seconds)


def told(**parts: tuple[float | None, ...]) -> dict[str, dict[str, str]]:
    return {
        name: {key: at(each).isoformat() for key, each in zip(("started", "finished"), times, strict=False) if each is not None}
        for name, times in parts.items()
    }


def run(status: str = "running", **columns: object) -> Run:
    times = {name: at(columns.pop(name)) for name in ("launched_at", "placed_at", "started_at", "finished_at") if name in columns}
    made = rows.run(rows.event(rows.repository(f"r{Run.objects.count()}"), status="2"), status=status, **columns, **times)
    Run.objects.filter(pk=made.pk).update(ctime=BEGIN)
    made.refresh_from_db()
    return made


def shown(made: Run) -> list[tuple[str, str, float | None]]:
    return [(part.name, part.state, part.seconds) for part in parts_of(made)]


DONE = {"launched_at": 10, "placed_at": 12, "started_at": 15, "finished_at": 50}


def test_each_part_of_a_build_that_succeeded():
    phases = told(clone=(15, 20), build=(20, 40), push=(40, 48))
    assert shown(run("succeeded", phases=phases, **DONE)) == [
        ("waiting", "done", 10.0),
        ("scheduling", "done", 2.0),
        ("starting", "done", 3.0),
        ("clone", "done", 5.0),
        ("build", "done", 20.0),
        ("push", "done", 8.0),
        ("confirming", "done", 2.0),
    ]


def test_one_that_runs_has_parts_to_come():
    phases = told(clone=(15, 20), build=(20, None))
    assert shown(run(phases=phases, launched_at=10, placed_at=12, started_at=15))[3:] == [
        ("clone", "done", 5.0),
        ("build", "running", None),
        ("push", "coming", None),
    ]


def test_one_that_waits_for_a_node():
    assert shown(run("launching", launched_at=10))[:3] == [
        ("waiting", "done", 10.0),
        ("scheduling", "running", None),
        ("starting", "coming", None),
    ]


def test_a_local_build_is_not_scheduled():
    names = [name for name, _, _ in shown(run("launching", launched_at=10, backend="local"))]
    assert names == ["waiting", "starting", "clone", "build", "push"]


def test_nothing_is_pushed_where_there_is_no_registry():
    assert "push" not in [name for name, _, _ in shown(run(backend="local", registory_add=""))]


def test_the_part_in_which_it_failed_is_marked_and_what_was_not_reached():
    phases = told(clone=(15, 20), build=(20, 40))
    made = run("failed", phases=phases, builder="buildah", cause="step_failed", **DONE)
    assert shown(made)[3:] == [("clone", "done", 5.0), ("build", "failed", 20.0), ("push", "missed", None)]
    assert failed_step(made) == "build"


def test_a_digest_that_the_registry_did_not_confirm_failed_after_the_push():
    phases = told(clone=(15, 20), build=(20, 40), push=(40, 48))
    made = run("failed", phases=phases, builder="buildah", cause="digest_missing", **DONE)
    assert shown(made)[-2:] == [("push", "done", 8.0), ("confirming", "failed", 2.0)]


def test_one_that_was_cancelled_while_it_waited_stopped_there():
    assert shown(run("cancelled", finished_at=30))[:2] == [("waiting", "stopped", 30.0), ("scheduling", "missed", None)]


def test_buildkit_whose_push_was_not_seen_built_and_pushed_in_one():
    made = run("succeeded", phases=told(clone=(15, 20), build=(20, 49)), **DONE)
    assert ("build_push", "done", 29.0) in shown(made)


def test_a_push_of_buildkit_that_failed_is_found_in_its_build_container():
    made = run("failed", phases=told(clone=(15, 20), build=(20, 40), push=(40, 48)), **DONE)
    assert failed_step(made) == "build"


def test_no_part_begins_before_the_one_ahead_of_it_ended():
    phases = told(clone=(14, 16), build=(16, 17))
    parts = parts_of(run(phases=phases, launched_at=10, placed_at=12, started_at=15))
    times = [moment for part in parts for moment in (part.started, part.finished) if moment]
    assert times == sorted(times)


def test_what_is_usual_is_the_median_of_the_last_successes(django_assert_num_queries):
    exporter, now = rows.repository(), timezone.now()
    for seconds in (10, 20, 90):
        earlier = rows.event(exporter, status="3", digest=rows.DIGEST)
        phases = told(clone=(0, seconds / 10), build=(seconds / 10, seconds))
        rows.run(earlier, started_at=now, finished_at=now + timedelta(seconds=seconds), phases=phases)
    rows.run(rows.event(exporter, status="4"), started_at=now, finished_at=now + timedelta(seconds=1))
    event = rows.event(exporter, status="2")
    with django_assert_num_queries(2):
        found = usual(event)
    assert (found.whole, found.builds) == (20.0, 3)
    assert found.parts == {"clone": 2.0, "build": 18.0}


def test_an_estimate_never_says_that_it_has_ended():
    exporter, now = rows.repository(), timezone.now()
    earlier = rows.event(exporter, status="3", digest=rows.DIGEST)
    rows.run(earlier, started_at=now, finished_at=now + timedelta(seconds=10))
    event = rows.event(exporter, status="2")
    found = progress(rows.run(event, started_at=now - timedelta(seconds=30)), usual(event))
    assert found is not None
    assert found.share == 0.96
    assert found.left < 0
