"""What becomes of an adoption that can't go on: nothing is half done that the next one could not finish."""

import pytest
from cryptography.fernet import Fernet

from tests.adoption.conftest import Database
from tests.adoption.original import MARIADB, REGISTRY_PASS, RUN_PASSWORD, make_mariadb


def test_duplicate_names_are_refused_by_name_until_somebody_renames_them(original):
    original.execute("INSERT INTO gitstat (repo_name) VALUES ('public')")
    before = {table: original.execute(f"SELECT * FROM {table}") for table in ("gitstat", "event", "runner", "log")}
    done = original.migrate()
    assert done.returncode != 0
    assert "'public' is the name of several (id 4, 8)" in done.stderr
    assert "Traceback" not in done.stderr
    assert {table: original.execute(f"SELECT * FROM {table}") for table in before} == before
    original.execute("UPDATE gitstat SET repo_name = 'public-2' WHERE id = 8")
    done = original.migrate()
    assert done.returncode == 0, done.stderr
    assert [row["repo_name"] for row in original.view()["gitstat"]][-2:] == ["no-url", "public-2"]


def test_a_row_without_a_name_is_refused_by_id(original):
    original.execute("INSERT INTO gitstat (repo) VALUES ('https://example.com/x.git')")
    done = original.migrate()
    assert done.returncode != 0
    assert "id 8 has none" in done.stderr


def break_moving(database):
    """Let every change of a run fail, as a full disk or a lost connection would."""
    done = database.migrate("logs", "0002_portal")
    assert done.returncode == 0, done.stderr
    body = "SIGNAL SQLSTATE '45000'" if database.mark == "%s" else "BEGIN SELECT RAISE(ABORT, 'disk full'); END"
    database.execute(f"CREATE TRIGGER broken BEFORE UPDATE ON runner FOR EACH ROW {body}")
    done = database.migrate()
    assert done.returncode != 0
    # The run's description is masked before anything is moved: it stopped there, with all secrets still in their columns.
    assert database.execute("SELECT REGISTRY_PASS FROM runner WHERE id = 1") == [(REGISTRY_PASS,)]
    database.execute("DROP TRIGGER broken")


def test_it_can_be_broken_off_and_run_again(original):
    break_moving(original)
    done = original.migrate()
    assert done.returncode == 0, done.stderr
    credentials = original.view()["credential"]
    assert len(credentials) == 6
    assert [None, 1, "registry", {"username": "pusher", "password": REGISTRY_PASS}] in credentials
    assert REGISTRY_PASS not in original.everything()
    assert RUN_PASSWORD not in original.everything()


def test_it_refuses_to_go_on_with_other_keys(original):
    break_moving(original)
    token = Fernet(Fernet.generate_key()).encrypt(b"{}").decode()
    names = "repository_id, run_id, kind, ciphertext, created_at"
    original.execute(f"INSERT INTO credential ({names}) VALUES (1, NULL, 'git', ?, '2026-01-01 00:00:00')", token)
    done = original.migrate()
    assert done.returncode != 0
    assert "can't be decrypted with any of secrets.keys" in done.stderr
    assert "Traceback" not in done.stderr
    assert original.execute("SELECT REGISTRY_PASS FROM runner WHERE id = 1") == [(REGISTRY_PASS,)]


def test_large_tables_are_adopted_whole(original):
    connection = original.connect()
    cursor = connection.cursor()
    url = "https://ci:many-secret-{0:04}@git.example.com/{0}.git"
    for number in range(1101):
        cursor.execute(f"INSERT INTO log (msg) VALUES ({original.mark})", (f"cloned {url.format(number)}",))
        cursor.execute(f"INSERT INTO runner (REPO_PATH) VALUES ({original.mark})", (url.format(number),))
    cursor.close()
    connection.close()
    done = original.migrate()
    assert done.returncode == 0, done.stderr
    assert "many-secret" not in original.everything()
    cleaned = "SELECT COUNT(*) FROM runner WHERE REPO_PATH LIKE ?"
    assert original.execute(cleaned, "https://git.example.com/%.git") == [(1101,)]
    assert original.execute("SELECT COUNT(*) FROM log WHERE msg LIKE ?", "cloned https://***@git.example.com/%") == [(1101,)]
    assert original.execute("SELECT COUNT(*) FROM credential") == [(1107,)]


@pytest.mark.needs_mariadb
def test_a_zero_date_is_an_unknown_time(mariadb):
    with mariadb.database() as name:
        make_mariadb(mariadb, name, MARIADB[0])
        mariadb.execute("SET sql_mode = ''", "UPDATE event SET ctime = '0000-00-00 00:00:00' WHERE id = 2", database=name)
        database = Database(MARIADB[0], mariadb.environment(name), lambda: mariadb.connect(name), "%s")
        done = database.migrate()
        assert done.returncode == 0, done.stderr
        assert [row["ctime"] is None for row in database.view()["event"]] == [False, True, False]


@pytest.mark.needs_mariadb
def test_the_original_did_lose_its_times_on_every_update(mariadb):
    with mariadb.database() as name:
        make_mariadb(mariadb, name, MARIADB[0])
        found = mariadb.execute(
            "SELECT table_name FROM information_schema.columns WHERE table_schema = DATABASE() AND extra LIKE '%on update%'"
            " ORDER BY table_name",
            database=name,
        )
    assert found == [("event",), ("gitstat",), ("log",), ("runner",)]
