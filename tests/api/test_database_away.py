"""A database that is away is a 503 that says so; what the portal itself asked wrong stays a 500."""

import sqlite3

import pytest
from django.db import InterfaceError, OperationalError, ProgrammingError, connection
from django.db.backends.sqlite3.base import DatabaseWrapper

from ci_portal.api.database import is_away

GONE = OperationalError(2006, "Server has gone away")


@pytest.fixture
def away(client, db):
    def gone(*_):
        raise GONE

    client.raise_request_exception = False
    with connection.execute_wrapper(gone):
        yield client


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/repo/"), ("POST", "/check/"), ("GET", "/event/1/"), ("GET", "/job/1/output/")]
)
def test_a_script_is_told_to_try_again(away, method, path):
    answer = away.generic(method, path, '{"repo": "app", "user": "u", "token": "t"}', content_type="application/json")
    assert (answer.status_code, answer["Content-Type"]) == (503, "application/problem+json")
    assert answer.json()["code"] == "database_unavailable"
    assert answer["Retry-After"] == "5"


def test_a_browser_is_shown_a_page_that_needs_no_database(away):
    answer = away.get("/", headers={"accept": "text/html,*/*;q=0.8"})
    assert (answer.status_code, answer["Content-Type"]) == (503, "text/html; charset=utf-8")
    assert "The database does not answer" in answer.content.decode()


@pytest.mark.parametrize(
    ("error", "away"),
    [
        (GONE, True),
        (OperationalError(1205, "Lock wait timeout exceeded"), True),
        (InterfaceError(0, ""), True),
        (OperationalError(1054, "Unknown column"), False),
        (ProgrammingError(1146, "Table doesn't exist"), False),
        (OperationalError(), False),
        (ValueError(), False),
        (None, False),
    ],
)
def test_it_is_told_from_an_error_of_the_portals_own(error, away):
    assert is_away(error) is away


def sqlite_error(path, statement):
    wrapper = DatabaseWrapper({**connection.settings_dict, "NAME": path, "OPTIONS": {"timeout": 0}}, "other")
    with pytest.raises(OperationalError) as caught:
        wrapper.cursor().execute(statement)
    return caught.value


def test_an_sqlite_file_that_is_locked_is_away_and_a_missing_table_is_not(tmp_path, db):
    with sqlite3.connect(tmp_path / "db") as other:
        other.execute("BEGIN EXCLUSIVE")
        assert is_away(sqlite_error(tmp_path / "db", "CREATE TABLE t (id int)"))
    assert is_away(sqlite_error(tmp_path / "nowhere" / "db", "SELECT 1"))
    assert not is_away(sqlite_error(tmp_path / "db", "SELECT * FROM nothing"))


@pytest.mark.skipif(connection.vendor != "sqlite", reason="it is about what Python's sqlite3 says")
def test_a_text_that_is_no_utf_8_is_no_database_that_is_away(db):
    with connection.cursor() as cursor:
        cursor.execute("SELECT CAST(x'ff' AS TEXT)")
        with pytest.raises(OperationalError) as caught:
            cursor.fetchall()
    assert not is_away(caught.value)
