"""`GET /event/` of 50 out of a million, beside the same SELECT by PyMySQL or sqlite3 and json.dumps, on both databases."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

from bench.measure import Result, Target, alternate
from bench.place import BenchPortal, Place, Plan

#: What is asked, and the SELECT of the floor after `FROM event`.
NEWEST = "ORDER BY id DESC LIMIT 50"
QUERIES = {
    "newest": ("", NEWEST),
    "of a repository": ("repo=app-017", f"WHERE repo = 'app-017' {NEWEST}"),
    "failed": ("status=4", f"WHERE status = '4' {NEWEST}"),
    "failed of a repository": ("repo=app-017&status=4", f"WHERE repo = 'app-017' AND status = '4' {NEWEST}"),
    "of a person": ("created_by=user-3", f"WHERE created_by = 'user-3' {NEWEST}"),
    "latest first": ("ordering=-ctime", "ORDER BY ctime DESC, id DESC LIMIT 50"),
}
COLUMNS = (
    "id, name, status, repo, job, type, image, Image_tag, ctime, `Desc`, repository_id, ref, `commit`, digest, reason, created_by,"
    " finished_at, managed"
)
#: A million checks, one every 30 s, of 300 repositories by 20 people: nine in ten succeeded, the last ten are active.
VALUES = """
 {name}, CASE WHEN n > {events} - 10 THEN '2' WHEN n % 50 = 7 THEN '5' WHEN n % 12 = 5 THEN '4' ELSE '3' END,
 {repo}, {job}, 'build', {image}, {tag}, {ctime}, '', 1, n % 300 + 1, 'refs/heads/main', {commit}, {digest}, '',
 {user}, {finished}, {fingerprint}
"""
TARGETS = (
    "name, status, repo, job, type, image, Image_tag, ctime, `Desc`, managed, repository_id, ref, `commit`, digest, reason,"
    " created_by, finished_at, fingerprint"
)
SQLITE = {
    "name": "printf('event-app-%03d-buildv%012d', n % 300, n)",
    "repo": "printf('app-%03d', n % 300)",
    "job": "printf('app-%03d-%012x', n % 300, n)",
    "image": "printf('registry.example.com/team/app-%03d', n % 300)",
    "tag": "printf('buildv%012d', n)",
    "ctime": "datetime('2026-01-01', '-' || ({events} - n) * 30 || ' seconds')",
    "commit": "printf('%040x', n * 7919)",
    "digest": "'sha256:' || printf('%064x', n * 104729)",
    "user": "'user-' || (n % 20)",
    "finished": "datetime('2026-01-01', '-' || (({events} - n) * 30 - 75) || ' seconds')",
    "fingerprint": "printf('%064x', n)",
}
MYSQL = {
    "name": "CONCAT('event-app-', LPAD(n % 300, 3, '0'), '-buildv', LPAD(n, 12, '0'))",
    "repo": "CONCAT('app-', LPAD(n % 300, 3, '0'))",
    "job": "CONCAT('app-', LPAD(n % 300, 3, '0'), '-', LPAD(HEX(n), 12, '0'))",
    "image": "CONCAT('registry.example.com/team/app-', LPAD(n % 300, 3, '0'))",
    "tag": "CONCAT('buildv', LPAD(n, 12, '0'))",
    "ctime": "'2026-01-01' - INTERVAL ({events} - n) * 30 SECOND",
    "commit": "LPAD(HEX(n * 7919), 40, '0')",
    "digest": "CONCAT('sha256:', LPAD(HEX(n * 104729), 64, '0'))",
    "user": "CONCAT('user-', n % 20)",
    "finished": "'2026-01-01' - INTERVAL ({events} - n) * 30 - 75 SECOND",
    "fingerprint": "LPAD(HEX(n), 64, '0')",
}


def run(place: Place, plan: Plan) -> list[Result]:
    """The row: each query on each database."""
    events = plan.sized(1_000_000, 1_000)
    results = []
    for engine in ("sqlite", "mysql"):
        with place.portal(engine, cluster=False) as site, connected(place, site, engine) as select:
            fill(place, site, engine, events)
            results += [_measured(site, engine, what, select, plan) for what in QUERIES]
    return results


def _measured(site: BenchPortal, engine: str, what: str, select: Callable[[str], list[tuple[Any, ...]]], plan: Plan) -> Result:
    asked, statement = QUERIES[what]

    def ours() -> None:
        status, body = site.ask("GET", f"/event/?{asked}")
        assert status == 200, body
        answers.append(body)

    def floor() -> None:
        rows.append(json.dumps(select(f"SELECT {COLUMNS} FROM event {statement}"), default=str))

    answers: list[bytes] = []
    rows: list[str] = []
    mine, least = alternate(plan.repeats(60, 5), ours, floor, warm=3)
    assert [row["id"] for row in json.loads(answers[-1])["results"]] == [row[0] for row in json.loads(rows[-1])]
    return Result("lists", f"{what}, {engine}", mine, least, [Target("p95 ≤ 10 ms", mine.p95, 10)])


@contextmanager
def connected(place: Place, site: BenchPortal, engine: str) -> Iterator[Callable[[str], list[tuple[Any, ...]]]]:
    """A connection of the floor's own, kept open: what it is asked, it answers with all rows."""
    if engine == "sqlite":
        with closing(sqlite3.connect(site.folder / "portal.sqlite3")) as connection:
            yield lambda statement: connection.execute(statement).fetchall()
    else:
        with place.mariadb.connect(site.database) as connection, connection.cursor() as cursor:

            def select(statement: str) -> list[tuple[Any, ...]]:
                cursor.execute(statement)
                return list(cursor.fetchall())

            yield select


def fill(place: Place, site: BenchPortal, engine: str, events: int) -> None:
    """Put so many events into the portal's empty table, the database by itself, a part at a time."""
    texts = {name: text.format(events=events) for name, text in (SQLITE if engine == "sqlite" else MYSQL).items()}
    values = VALUES.format(events=events, **texts)
    step = 50_000
    parts = [(start, min(start + step, events + 1) - 1) for start in range(1, events + 1, step)]
    if engine == "sqlite":
        with closing(sqlite3.connect(site.folder / "portal.sqlite3", timeout=60)) as connection:
            connection.executescript("PRAGMA cache_size = -400000; PRAGMA synchronous = OFF")
            for first, last in parts:
                numbers = f"WITH RECURSIVE numbers(n) AS (SELECT {first} UNION ALL SELECT n + 1 FROM numbers WHERE n < {last})"
                connection.execute(f"INSERT INTO event ({TARGETS}) {numbers} SELECT {values} FROM numbers")
                connection.commit()
            connection.execute("ANALYZE event")
            connection.commit()
        return
    with place.mariadb.connect(site.database) as connection, connection.cursor() as cursor:
        for first, last in parts:
            numbers = f"(SELECT CAST(seq AS SIGNED) AS n FROM seq_{first}_to_{last}) AS numbers"
            cursor.execute(f"INSERT INTO event ({TARGETS}) SELECT {values} FROM {numbers} ORDER BY n")
        cursor.execute("ANALYZE TABLE event")
