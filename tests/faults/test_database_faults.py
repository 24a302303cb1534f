"""A database that is killed, locked or away: builds end right, requests get a clear 503, and all recovers by itself."""

import signal
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.fault_site import Fault, Site, Stand
from tests.support.portal import Answer
from tests.support.waiting import until

pytestmark = [pytest.mark.needs_cluster, pytest.mark.needs_mariadb, pytest.mark.faults]

LOCKED_SECONDS = 30


@pytest.fixture
def stand(place: Site) -> Iterator[Stand]:
    with place.portal() as made:
        made.portal.start_web()
        yield made


def tells_that_the_database_is_away(answer: Answer) -> bool:
    assert answer.status == 503, (answer.status, answer.body)
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["Retry-After"]
    return bool(answer.json["code"] == "database_unavailable")


def test_mariadb_killed_and_started_again_during_a_build_costs_it_nothing(stand: Stand):
    mariadb = stand.site.mariadb
    watcher = stand.portal.start_watcher()
    event_id, run_id = stand.started("long")
    stand.wait_for_output(run_id, b"tick 20 of")
    mariadb.kill()
    try:
        for path in (f"/event/{event_id}/", f"/job/{run_id}/output/", "/repo/"):
            assert tells_that_the_database_is_away(stand.portal.get(path))
        assert tells_that_the_database_is_away(stand.check())
        page = stand.portal.get("/", Accept="text/html")
        assert (page.status, page.headers["Content-Type"]) == (503, "text/html; charset=utf-8")
        time.sleep(5)
    finally:
        mariadb.start()
        mariadb.wait()
    stand.audit(event_id)
    assert watcher.poll() is None


@pytest.mark.parametrize("who", ["web", "watcher"])
def test_a_database_away_while_a_build_is_launched_leaves_one_job(place: Site, who: str):
    """The launching process is held behind the POST of the Job until the database is gone."""
    fault, mariadb = Fault(what="POST jobs", do="stop"), place.mariadb
    with place.portal() as stand:
        with ThreadPoolExecutor(1) as pool:
            if who == "web":
                launcher = stand.portal.start_web(fault)
                asked = pool.submit(stand.check, key="once")
            else:
                stand.portal.start_web(**place.nowhere())
                assert stand.check(key="once").status == 202
                launcher = stand.portal.start_watcher(fault)
            until(lambda: stand.portal.has_met("stop"), 30, stand.portal.logs)
            mariadb.kill()
            launcher.send_signal(signal.SIGCONT)
            if who == "web":
                assert tells_that_the_database_is_away(asked.result(30))
            time.sleep(2)
            mariadb.start()
            mariadb.wait()
        if who == "web":
            stand.portal.start_watcher()
        (event,) = stand.portal.get("/event/").json["results"]
        stand.audit(event["id"])
        assert stand.check(key="once").json["event"]["id"] == event["id"]


def test_a_watcher_started_while_the_database_is_away_works_once_it_is_back(stand: Stand):
    mariadb = stand.site.mariadb
    event_id, _ = stand.started()
    mariadb.kill()
    try:
        watcher = stand.portal.start_watcher()
        time.sleep(5)
        assert watcher.poll() is None, stand.portal.logs()
    finally:
        mariadb.start()
        mariadb.wait()
    stand.audit(event_id)
    assert watcher.poll() is None


def test_tables_locked_for_thirty_seconds_hold_a_build_up_and_no_more(stand: Stand):
    watcher = stand.portal.start_watcher()
    event_id, run_id = stand.started("long")
    stand.wait_for_output(run_id, b"tick 20 of")
    with stand.site.mariadb.connect(stand.database) as other, other.cursor() as cursor:
        cursor.execute("LOCK TABLES runner WRITE, event WRITE, output WRITE, output_chunk WRITE, output_stream WRITE, log WRITE")
        time.sleep(LOCKED_SECONDS)
        cursor.execute("UNLOCK TABLES")
    stand.audit(event_id)
    assert watcher.poll() is None


def test_rows_locked_for_thirty_seconds_hold_a_build_up_and_no_more(stand: Stand):
    watcher = stand.portal.start_watcher()
    event_id, run_id = stand.started("long")
    stand.wait_for_output(run_id, b"tick 20 of")
    with stand.site.mariadb.connect(stand.database, autocommit=False) as other, other.cursor() as cursor:
        for table in ("runner", "event", "output", "output_stream"):
            cursor.execute(f"SELECT * FROM {table} FOR UPDATE")
        time.sleep(LOCKED_SECONDS)
        other.rollback()
    stand.audit(event_id)
    assert watcher.poll() is None


def test_sqlite_locked_for_thirty_seconds_by_another_process_holds_a_build_up_and_no_more(place: Site):
    with place.portal("sqlite") as stand:
        stand.portal.start_web()
        watcher = stand.portal.start_watcher()
        event_id, run_id = stand.started("long")
        stand.wait_for_output(run_id, b"tick 20 of")
        file = Path(stand.portal.folder / "portal.sqlite3")
        with closing(sqlite3.connect(file, isolation_level=None, timeout=30)) as other:
            other.execute("BEGIN EXCLUSIVE")
            begun = time.monotonic()
            assert tells_that_the_database_is_away(stand.check())
            time.sleep(max(0, LOCKED_SECONDS + 2 - (time.monotonic() - begun)))
            other.execute("ROLLBACK")
        stand.audit(event_id)
        assert watcher.poll() is None
        until(lambda: stand.check().status == 202, 10)
