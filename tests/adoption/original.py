"""Databases of the original as they were made by hand, with what its users left in them."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.mariadb import MariaDB

PASSWORD, TOKEN, EVENT_PASSWORD = "p@ss/word-1", "ghp_0123456789abcdefghij", "only-in-the-event-7"
REGISTRY_PASS, RUN_PASSWORD = "registry-secret-9", "other-secret-22"
SECRETS = (PASSWORD, "p%40ss%2Fword-1", TOKEN, EVENT_PASSWORD, REGISTRY_PASS, RUN_PASSWORD, "long-secret-long-secret", "short:pw")

LONG_CLEAN = "https://git.example.com/" + "deep/" * 27 + "repo.git"
LONG = LONG_CLEAN.replace("//", "//ci:long-secret-long-secret@")
assert len(LONG) <= 200

WHEN = "2021-11-25 15:17:03"

#: Columns of each table in the order in which the rows below give them.
COLUMNS = {
    "gitstat": "id repo_name repo branch tag build_path dockerfile job type image desc name Time user ca_secret",
    "event": "id name status repo job type image Image_tag ctime Desc",
    "runner": "id name status type desc ctime REGISTORY_ADD REGISTRY_NAME REGISTRY_PASS IMAGE_REPO IMAGE_NAME IMAGE_TAG"
    " REPO_PATH REPO_DOCKERFILE BUILD_PATH",
    "log": "id Repo_name event_uuid Runner_uuid msg create_at",
}
TIMES = {"gitstat": "Time", "event": "ctime", "runner": "ctime", "log": "create_at"}


def rows(text: str, dangling: bool) -> dict[str, list[tuple[Any, ...]]]:
    """The rows; `text` stands where people wrote something, `dangling` adds history of an event that is gone."""
    none = (None,) * 15
    url = "https://username:p%40ss%2Fword-1@bitbucket.org/team/prometh_exporter.git"
    built = ("main", "", ".", "Dockerfile", "build-prometh-exporter", "dockerfile", "registry.example:5000/team/prometh_exporter")
    return {
        "gitstat": [
            (1, "prometh_exporter", url, *built, text, "exporter", WHEN, "chen", "corp-ca"),
            (2, "by-ssh", "git@github.com:team/by-ssh.git", *none[:9], WHEN, *none[:2]),
            (3, "by-token", f"https://{TOKEN}@github.com/team/y.git", *none[:9], WHEN, *none[:2]),
            (4, "public", "https://github.com/team/z.git", *none[:9], WHEN, *none[:2]),
            (5, "long", LONG, *none[:7], "login short:pw, see https://a:short:pw@h.example/", None, WHEN, *none[:2]),
            (6, "by-ssh-url", "ssh://git@git.example.com/team/six.git", *none[:9], WHEN, *none[:2]),
            (7, "no-url", None, *none[:9], WHEN, *none[:2]),
        ],
        "event": [
            (1, "event-prometh-exporter-buildv202111251517", "1", "prometh_exporter", "build-prometh-exporter", "dockerfile",
             "registry.example:5000/team/prometh_exporter", "buildv202111251517", WHEN, f"{text} cloned {url}"),
            (2, "event-z", "3", f"https://bot:{EVENT_PASSWORD}@github.com/team/z.git", *none[:4], WHEN, None),
            (3, *none[:7], WHEN, None),
        ],
        "runner": [
            (1, "run-1", "done", "dockerfile", f"pushed with {REGISTRY_PASS}", WHEN, "registry.example:5000", "pusher",
             REGISTRY_PASS, "team", "prometh_exporter", "buildv202111251517",
             f"https://ci:{RUN_PASSWORD}@bitbucket.org/team/prometh_exporter.git", "Dockerfile", "."),
            (2, *none[:4], WHEN, *none[:9]),
        ],
        "log": [
            (1, "prometh_exporter", 1, 1, f"{text}: repo changed to {url}", WHEN),
            (2, "by-token", None, None, f"token is {TOKEN}\nand in base64 cEBzcy93b3JkLTE=", WHEN),
            (3, None, None, None, None, WHEN),
            *([(4, "gone", 99, 98, "of what is gone", WHEN)] if dangling else []),
        ],
    }  # fmt: skip


@dataclass(frozen=True)
class Original:
    """One flavour of an original database."""

    name: str
    text: str = "构建普罗米修斯导出器"
    keys: bool = False  # real foreign keys on log
    unique: bool = True  # a unique index on repo_name
    charset: str = ""  # MariaDB's; "" is SQLite
    options: str = ""  # MariaDB's table options
    integer: str = "int(11)"

    @property
    def rows(self) -> dict[str, list[tuple[Any, ...]]]:
        """Its rows."""
        return rows(self.text, dangling=not self.keys)


SQLITE = (Original("sqlite"), Original("sqlite-keys", keys=True))
MARIADB = (
    Original("utf8-keys", keys=True, charset="utf8", options="ENGINE=InnoDB"),
    Original(
        "latin1-myisam", text="Müller façade", unique=False, charset="latin1", options="ENGINE=MyISAM", integer="int(10) unsigned"
    ),
    Original(
        "utf8mb4-compact", text="构建 🚀", charset="utf8mb4", options="ENGINE=InnoDB ROW_FORMAT=COMPACT", integer="bigint(20)"
    ),
)


def tables(original: Original, key: str, integer: str, text: str) -> list[str]:
    """CREATE TABLE statements as SPEC section 1 lists the columns. `key` declares an id, `text` a long text column."""
    widths = {
        "gitstat": "repo_name 150 repo 200 branch 150 tag 100 build_path 150 dockerfile 150 job 100 type 20 image 150 desc 200"
        " name 50 Time - user 50 ca_secret 150",
        "event": "name 100 status 20 repo 150 job 100 type 50 image 200 Image_tag 20 ctime - Desc 300",
        "runner": "name 100 status 10 type 50 desc 200 ctime - REGISTORY_ADD 150 REGISTRY_NAME 150 REGISTRY_PASS 150 IMAGE_REPO 150"
        " IMAGE_NAME 150 IMAGE_TAG 150 REPO_PATH 150 REPO_DOCKERFILE 150 BUILD_PATH 150",
    }
    made = []
    for table, spec in widths.items():
        words = spec.split()
        lines = [f"`id` {key}"]
        for name, width in zip(words[::2], words[1::2], strict=True):
            default = " DEFAULT '1'" if (table, name) == ("event", "status") else ""
            lines.append(f"`{name}` " + ("timestamp" if width == "-" else f"varchar({width}){default}"))
        if table == "gitstat" and original.unique:
            lines[1] += " NOT NULL UNIQUE"
        made.append(f"CREATE TABLE `{table}` ({', '.join(lines)}) {original.options}")
    lines = [f"`id` {key}", "`Repo_name` varchar(150)", f"`event_uuid` {integer}", f"`Runner_uuid` {integer}"]
    lines += [f"`msg` {text}", "`create_at` timestamp"]
    if original.keys:
        lines += [
            "FOREIGN KEY (`Repo_name`) REFERENCES `gitstat` (`repo_name`)",
            "FOREIGN KEY (`event_uuid`) REFERENCES `event` (`id`) ON DELETE CASCADE",
            "FOREIGN KEY (`Runner_uuid`) REFERENCES `runner` (`id`)",
        ]
    return [*made, f"CREATE TABLE `log` ({', '.join(lines)}) {original.options}"]


def insert(table: str, row: tuple[Any, ...], mark: str) -> str:
    """An INSERT as other tools send it: the original's columns only."""
    names = ", ".join(f"`{name}`" for name in COLUMNS[table].split())
    return f"INSERT INTO `{table}` ({names}) VALUES ({', '.join([mark] * len(row))})"


def make_sqlite(path: Path, original: Original) -> None:
    """Make the database file."""
    with sqlite3.connect(path) as connection:
        for statement in tables(original, "integer PRIMARY KEY AUTOINCREMENT", "integer", "text"):
            connection.execute(statement)
        for table, made in original.rows.items():
            for row in made:
                connection.execute(insert(table, row, "?"), row)
    connection.close()


def make_mariadb(server: MariaDB, database: str, original: Original) -> None:
    """Make the tables in an empty database, as a server of the original's time would: TIMESTAMP columns change unasked."""
    server.execute(f"ALTER DATABASE {database} CHARACTER SET {original.charset}")
    key = f"{original.integer} NOT NULL AUTO_INCREMENT PRIMARY KEY"
    with server.connect(database) as connection, connection.cursor() as cursor:
        cursor.execute("SET explicit_defaults_for_timestamp = 0, time_zone = '+00:00'")
        for statement in tables(original, key, original.integer, "text"):
            cursor.execute(statement)
        for table, made in original.rows.items():
            for row in made:
                cursor.execute(insert(table, row, "%s"), row)
