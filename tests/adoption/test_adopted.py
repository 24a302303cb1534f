"""What an adopted database holds: every row as it was, and no credential outside encrypted storage."""

import datetime

import pytest

from tests.adoption.original import (
    COLUMNS,
    EVENT_PASSWORD,
    LONG_CLEAN,
    PASSWORD,
    REGISTRY_PASS,
    RUN_PASSWORD,
    SECRETS,
    TIMES,
    TOKEN,
    WHEN,
)

CHANGED = {("gitstat", "repo"), ("event", "repo"), ("runner", "REPO_PATH"), ("runner", "REGISTRY_PASS")}
TEXTS = {("gitstat", "desc"), ("event", "Desc"), ("runner", "desc"), ("log", "msg")}


@pytest.fixture(scope="module")
def view(adopted):
    return adopted.view()


@pytest.mark.parametrize("table", COLUMNS)
def test_every_row_is_there_with_every_value(adopted, view, table):
    names = COLUMNS[table].split()
    expected = [dict(zip(names, row, strict=True)) for row in adopted.original.rows[table]]
    assert len(view[table]) == len(expected)
    for found, row in zip(view[table], expected, strict=True):
        for name, value in row.items():
            if (table, name) in CHANGED | TEXTS or name == TIMES[table]:
                continue
            numeric = name in ("id", "event_uuid", "Runner_uuid")
            # A text column's NULL reads as ""; references and what has no name stay NULL.
            assert found[name] == (value if value is not None or numeric or name == "Repo_name" else ""), (name, row)


@pytest.mark.parametrize("table", COLUMNS)
def test_every_time_is_as_it_was(adopted, table):
    for (value,) in adopted.execute(f"SELECT {TIMES[table]} FROM {table}"):
        assert str(value) == WHEN


@pytest.mark.parametrize("table", COLUMNS)
def test_the_portal_reads_times_as_utc(view, table):
    for row in view[table]:
        assert datetime.datetime.fromisoformat(row[TIMES[table]]) == datetime.datetime.fromisoformat(f"{WHEN}+00:00")


def test_texts_stay_readable(adopted, view):
    assert view["gitstat"][0]["desc"] == adopted.original.text
    assert view["event"][0]["Desc"].startswith(f"{adopted.original.text} cloned https://")
    assert view["log"][0]["msg"].startswith(adopted.original.text)
    assert view["log"][2]["msg"] in (None, "")


def test_urls_lose_their_credentials_and_nothing_else(view):
    urls = {row["repo_name"]: row["repo"] for row in view["gitstat"]}
    assert urls == {
        "prometh_exporter": "https://bitbucket.org/team/prometh_exporter.git",
        "by-ssh": "git@github.com:team/by-ssh.git",
        "by-token": "https://github.com/team/y.git",
        "public": "https://github.com/team/z.git",
        "long": LONG_CLEAN,
        "by-ssh-url": "ssh://git@git.example.com/team/six.git",
        "no-url": "",
    }
    assert [row["repo"] for row in view["event"]] == ["prometh_exporter", "https://github.com/team/z.git", ""]
    assert [row["REPO_PATH"] for row in view["runner"]] == ["https://bitbucket.org/team/prometh_exporter.git", ""]
    assert [row["REGISTRY_PASS"] for row in view["runner"]] == ["", ""]


def test_credentials_are_in_encrypted_storage(view):
    assert view["credential"] == [
        [None, 1, "git", {"username": "ci", "password": RUN_PASSWORD}],
        [1, None, "git", {"username": "username", "password": PASSWORD}],
        [3, None, "git", {"username": TOKEN, "password": ""}],
        [4, None, "git", {"username": "bot", "password": EVENT_PASSWORD}],
        [5, None, "git", {"username": "ci", "password": "long-secret-long-secret"}],
        [None, 1, "registry", {"username": "pusher", "password": REGISTRY_PASS}],
    ]


def test_no_table_holds_a_secret(adopted):
    everything = adopted.everything()
    assert "prometh_exporter" in everything
    for secret in SECRETS:
        if len(secret) >= 8 and secret != "short:pw":
            assert secret not in everything
    assert "cEBzcy93b3JkLTE" not in everything  # base64 of the password
    assert "a:short:pw@" not in everything


def test_texts_show_where_a_secret_was(view):
    assert "https://***@bitbucket.org/team/prometh_exporter.git" in view["log"][0]["msg"]
    assert view["log"][1]["msg"].startswith("token is ***\n")
    assert view["runner"][0]["desc"] == "pushed with ***"


def test_a_change_by_the_portal_leaves_the_times_alone(adopted):
    for table, column in {"gitstat": "user", "event": "status", "runner": "status", "log": "msg"}.items():
        before = adopted.execute(f"SELECT {TIMES[table]}, `{column}` FROM {table} WHERE id = 2")[0]
        adopted.execute(f"UPDATE {table} SET `{column}` = 'x' WHERE id = 2")
        after = adopted.execute(f"SELECT {TIMES[table]} FROM {table} WHERE id = 2")[0][0]
        adopted.execute(f"UPDATE {table} SET `{column}` = ? WHERE id = 2", before[1])
        assert str(after) == WHEN, table


def test_repo_name_is_unique_now(adopted):
    with pytest.raises(Exception, match="(?i)unique|duplicate"):
        adopted.execute("INSERT INTO gitstat (repo_name) VALUES ('public')")


def test_any_text_can_be_written(adopted):
    for table, column in {"gitstat": "user", "event": "reason", "runner": "reason", "log": "actor"}.items():
        before = adopted.execute(f"SELECT `{column}` FROM {table} WHERE id = 1")[0][0]
        adopted.execute(f"UPDATE {table} SET `{column}` = ? WHERE id = 1", "陈 🚀")
        assert adopted.execute(f"SELECT `{column}` FROM {table} WHERE id = 1") == [("陈 🚀",)]
        adopted.execute(f"UPDATE {table} SET `{column}` = ? WHERE id = 1", before)


def test_adopting_twice_changes_nothing(adopted):
    before = adopted.everything()
    done = adopted.migrate()
    assert done.returncode == 0, done.stderr
    assert "No migrations to apply" in done.stdout
    assert adopted.everything() == before


def test_another_tool_inserts_with_the_original_columns_alone(adopted):
    tables = {"gitstat": "repo_name", "event": "repo", "runner": "name", "log": "msg"}
    for table, column in tables.items():
        adopted.execute(f"INSERT INTO {table} (`{column}`) VALUES (?)", "by-another-tool")
    try:
        view = adopted.view()
    finally:
        for table, column in tables.items():
            adopted.execute(f"DELETE FROM {table} WHERE `{column}` = ?", "by-another-tool")
    assert [view[table][-1][column] for table, column in tables.items()] == ["by-another-tool"] * 4
    assert (view["event"][-1]["managed"], view["runner"][-1]["managed"], view["runner"][-1]["attempt"]) == (False, False, 1)
