"""Connections to MariaDB are taken from a pool: few for many requests, new ones after the server was started anew."""

import os
from collections.abc import Iterator

import pytest
from django.db import OperationalError, connections

from ci_portal.api.database import is_away
from ci_portal.mysql import base
from tests.support.mariadb import DATABASE, MariaDB, run_mariadb

pytestmark = pytest.mark.needs_mariadb


@pytest.fixture(scope="module")
def server() -> Iterator[MariaDB]:
    with run_mariadb() as running:
        yield running


@pytest.fixture
def request_(server: MariaDB, django_db_blocker, monkeypatch: pytest.MonkeyPatch):
    """What makes the connection of one more request, as a greenlet of its own would have it."""
    here = {key.upper(): getattr(server, key) for key in ("host", "port", "user", "password")}
    settings = {**connections["default"].settings_dict, "NAME": DATABASE, **here}
    settings |= {"OPTIONS": {"charset": "utf8mb4"}, "CONN_MAX_AGE": 0, "CONN_HEALTH_CHECKS": False, "TIME_ZONE": None}
    made: list[base.DatabaseWrapper] = []

    def another() -> base.DatabaseWrapper:
        made.append(base.DatabaseWrapper(settings))
        return made[-1]

    monkeypatch.setattr(base, "_pools", {})
    with django_db_blocker.unblock():
        yield another
        for wrapper in made:
            wrapper.close()


def ask(wrapper: base.DatabaseWrapper) -> int:
    with wrapper.cursor() as cursor:
        cursor.execute("SELECT CONNECTION_ID()")
        return int(cursor.fetchone()[0])


def asked(wrapper: base.DatabaseWrapper) -> int:
    """How many statements the connection has been asked, this one included."""
    with wrapper.cursor() as cursor:
        cursor.execute("SHOW SESSION STATUS LIKE 'Questions'")
        return int(cursor.fetchone()[1])


def test_the_next_request_has_the_connection_of_the_one_before(request_):
    first, second = request_(), request_()
    before = ask(first)
    first.close()
    assert ask(second) == before


def test_two_at_once_have_connections_of_their_own(request_):
    assert ask(request_()) != ask(request_())


def test_what_a_request_left_unfinished_is_not_there_for_the_next(request_, server: MariaDB):
    server.execute("CREATE OR REPLACE TABLE seen (n INT) ENGINE=InnoDB", database=DATABASE)
    first, second = request_(), request_()
    first.set_autocommit(False)
    with first.cursor() as cursor:
        cursor.execute("INSERT INTO seen VALUES (1)")
    first.close()
    with second.cursor() as cursor:
        cursor.execute("SELECT @@autocommit")
        assert cursor.fetchone() == (1,)
        cursor.execute("SELECT COUNT(*) FROM seen")
        assert cursor.fetchone() == (0,)


def test_a_transaction_takes_one_statement_to_begin_and_one_to_end(request_, server: MariaDB):
    server.execute("CREATE OR REPLACE TABLE seen (n INT) ENGINE=InnoDB", database=DATABASE)
    wrapper = request_()
    before = asked(wrapper)
    wrapper.set_autocommit(False, force_begin_transaction_with_broken_autocommit=True)  # as transaction.atomic does it
    with wrapper.cursor() as cursor:
        cursor.execute("INSERT INTO seen VALUES (1)")
    wrapper.rollback()
    wrapper.set_autocommit(True)
    assert asked(wrapper) - before == 4  # BEGIN, INSERT, ROLLBACK, and the one that counts
    assert server.execute("SELECT COUNT(*) FROM seen", database=DATABASE) == [(0,)]


def test_giving_a_connection_back_asks_nothing(request_):
    first, second = request_(), request_()
    before = asked(first)
    first.close()
    assert asked(second) - before == 1


def test_where_all_are_in_use_the_database_counts_as_away(request_, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(base, "KEPT", 1)
    monkeypatch.setattr(base, "MOST", 2)
    monkeypatch.setattr(base, "WAIT_SECONDS", 0.05)
    held = [request_(), request_()]
    assert len({ask(wrapper) for wrapper in held}) == 2
    with pytest.raises(OperationalError, match="all 2 connections") as caught:
        ask(request_())
    assert is_away(caught.value)
    held[0].close()
    assert ask(request_())


def test_a_server_that_was_started_anew_is_asked_over_new_connections(request_, server: MariaDB):
    first = request_()
    ask(first)
    first.close()
    server.kill()
    server.start()
    server.wait()
    assert ask(request_())


def test_a_connection_that_was_lost_in_use_is_given_back_without_a_traceback_in_the_log(request_, server: MariaDB, caplog):
    first = request_()
    ask(first)
    server.kill()
    first.close()
    server.start()
    server.wait()
    assert ask(request_())
    assert caplog.records == []


def test_a_process_that_is_forked_does_not_use_its_parents(request_):
    first = request_()
    before = ask(first)
    first.close()
    reader, writer = os.pipe()
    if (pid := os.fork()) == 0:
        os.write(writer, str(ask(request_())).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    assert int(os.read(reader, 20)) != before
    assert ask(request_()) == before
