"""How the database finds the rows of `/event/`: by an index, however many there are. SQLite says so without statistics."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from events.models import Event

pytestmark = pytest.mark.skipif(connection.vendor != "sqlite", reason="what MariaDB chooses depends on how many rows there are")

LOOKED_UP = ["id", "name", "status", "repo", "job", "Image_tag", "commit", "digest", "created_by", "repository"]
ORDERED = [
    "id",
    "name",
    "status",
    "repo",
    "job",
    "Image_tag",
    "commit",
    "digest",
    "created_by",
    "repository",
    "ctime",
    "finished_at",
]


def plan(api, query):
    """What SQLite does for the rows themselves."""
    with CaptureQueriesContext(connection) as asked:
        assert api.get(f"/event/?{query}").status_code == 200
    rows = next(query["sql"] for query in asked if "COUNT(" not in query["sql"])
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {rows}")
        return "; ".join(step[3] for step in cursor.fetchall())


@pytest.mark.parametrize("name", LOOKED_UP)
def test_rows_are_looked_up_in_an_index(api, name):
    Event.objects.create(name="e")
    value = 1 if name in ("id", "repository") else "x" if name != "status" else "4"
    said = plan(api, f"{name}={value}")
    assert "SEARCH event USING" in said
    assert "TEMP B-TREE" not in said


@pytest.mark.parametrize("direction", ["", "-"])
@pytest.mark.parametrize("name", ORDERED)
def test_rows_are_read_in_order_and_not_sorted(api, name, direction):
    Event.objects.create(name="e")
    assert "TEMP B-TREE" not in plan(api, f"ordering={direction}{name}")
