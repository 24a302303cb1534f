"""How the database finds the rows of a list: every filter and ordering that is offered goes by an index, or is named here as one
that does not, because few people need it and each index costs every write."""

import re
from collections.abc import Callable

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from events.models import Event
from events.views import Events
from logs.models import Log
from logs.views import Logs
from runners.models import Run
from runners.views import Runs

ROWS = 50 if connection.vendor == "sqlite" else 20_000  # so many that MariaDB prefers an index
#: Filters that read rows from the newest back until a page is full.
UNINDEXED_FILTERS = {
    "event": {"type", "image", "Desc", "ref", "reason"},
    "runner": {
        *("type", "desc", "REGISTORY_ADD", "REGISTRY_NAME", "IMAGE_REPO", "IMAGE_NAME", "REPO_PATH", "REPO_DOCKERFILE"),
        *("BUILD_PATH", "attempt", "automatic", "backend", "builder", "ref", "ca_secret", "reason", "cancelled_by"),
        *("launched_at", "started_at", "cancel_requested_at", "output_verdict"),
    },
    "log": {"msg"},
}
#: Orderings that sort all rows.
UNINDEXED_ORDERINGS = {table: names | {"managed"} for table, names in UNINDEXED_FILTERS.items()}
#: With two values, an index is for the rarer one alone: the database decides by what it looks for.
EITHER = {"managed"}


def events() -> None:
    Event.objects.bulk_create(
        (
            Event(
                **{name: f"{name}-{number}" for name in ("name", "repo", "job", "image_tag", "commit", "digest", "created_by")},
                status=str(number % 5 + 1),
                repository_id=number,
                finished_at=timezone.now(),
            )
            for number in range(1, ROWS)
        ),
        batch_size=2_000,
    )


def runs() -> None:
    Run.objects.bulk_create(
        (
            Run(
                **{name: f"{name}-{number}" for name in ("name", "image_tag", "commit", "digest")},
                status=Run.FINAL[number % 3],
                event_id=number,
                finished_at=timezone.now(),
            )
            for number in range(1, ROWS)
        ),
        batch_size=2_000,
    )


def logs() -> None:
    Log.objects.bulk_create(
        (
            Log(repository_id=f"app-{number}", event_id=number, run_id=number, msg="m", actor=f"user-{number}")
            for number in range(1, ROWS)
        ),
        batch_size=2_000,
    )


TABLES: dict[str, tuple[str, type, Callable[[], None]]] = {
    "event": ("/event/", Events, events),
    "runner": ("/job/", Runs, runs),
    "log": ("/log/", Logs, logs),
}


@pytest.fixture(params=TABLES)
def table(request: pytest.FixtureRequest, transactional_db) -> str:
    """Its name. MariaDB's ANALYZE commits, so that there is nothing to roll back: what is in the tables is deleted afterwards."""
    name: str = request.param
    TABLES[name][2]()
    with connection.cursor() as cursor:
        cursor.execute(f"ANALYZE {'TABLE ' if connection.vendor == 'mysql' else ''}{name}")
        cursor.fetchall()
    return name


def plan(api, table: str, query: str) -> str:
    """What the database says that it does for the rows themselves."""
    with CaptureQueriesContext(connection) as asked:
        answer = api.get(f"{TABLES[table][0]}?{query}")
        assert answer.status_code == 200, (query, answer.content)
    rows = next(query["sql"] for query in asked if f"{table}" in query["sql"] and "COUNT(" not in query["sql"])
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute(f"EXPLAIN QUERY PLAN {rows}")
            return "; ".join(step[3] for step in cursor.fetchall())
        cursor.execute(f"EXPLAIN {rows}")
        names = [column[0] for column in cursor.description]
        return str(dict(zip(names, cursor.fetchall()[0], strict=True)))


def is_looked_up(said: str, table: str) -> bool:
    if connection.vendor == "sqlite":
        return f"SEARCH {table} USING" in said
    return re.search(r"'type': '(const|ref|range|eq_ref)'|after reading const tables", said) is not None


def is_read_in_order(said: str, table: str) -> bool:
    """Of a span of time: in its index, or from the newest row back, but not all rows to sort them."""
    return is_looked_up(said, table) or is_in_order(said)


def is_in_order(said: str) -> bool:
    return "TEMP B-TREE" not in said if connection.vendor == "sqlite" else "filesort" not in said


def value(name: str, wire: str) -> str:
    if name.endswith("_after"):
        return "2037-01-01T00:00:00Z"
    if name.endswith("_before"):
        return "1971-01-01T00:00:00Z"
    if name in ("ctime", "create_at"):
        return "20300101 000000"
    return {"status": "4" if wire == "event" else "failed", "managed": "true", "automatic": "true", "id": "7"}.get(name, "7")


def test_every_filter_goes_by_an_index_or_is_known_not_to(api, table: str):
    offered = TABLES[table][1].filterset_class.base_filters
    assert UNINDEXED_FILTERS[table] <= offered.keys() | {"launched_at", "started_at", "cancel_requested_at"}
    wrong = {}
    for name in offered.keys() - EITHER:
        said = plan(api, table, f"{name}={value(name, table)}")
        if name.endswith(("_after", "_before")):
            right = is_read_in_order(said, table)
        else:
            right = is_looked_up(said, table) is (name not in UNINDEXED_FILTERS[table])
        if not right:
            wrong[name] = said
    assert wrong == {}


def test_every_ordering_goes_by_an_index_or_is_known_to_sort(api, table: str):
    sorts = UNINDEXED_ORDERINGS[table]
    wrong = {
        order: said
        for name in TABLES[table][1].ordering_wire
        for order in (name, f"-{name}")
        if is_in_order(said := plan(api, table, f"ordering={order}")) is (name in sorts)
    }
    assert wrong == {}
