"""Original databases, adopted once for all tests that only look at the outcome."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.adoption.original import MARIADB, SQLITE, Original, make_mariadb, make_sqlite
from tests.support.mariadb import MariaDB, mariadb  # noqa: F401 (a fixture)

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Database:
    """One database, seen as the portal sees it and as another tool does."""

    original: Original
    environment: dict[str, str]
    connect: Callable[[], Any]  # another tool's connection, in autocommit mode
    mark: str  # how its SQL writes a parameter

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run Python with the portal configured for this database."""
        settings = {
            **{name: value for name, value in os.environ.items() if not name.startswith("CI_PORTAL_DATABASE__")},
            "CI_PORTAL_CONFIG_FILE": str(ROOT / "tests" / "configure_server.json"),
            "DJANGO_SETTINGS_MODULE": "ci_portal.settings",
        }
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=ROOT,
            env={**settings, **self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=120,
        )

    def migrate(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Adopt it."""
        return self.run("manage.py", "migrate", "--fake-initial", "--no-input", *arguments, **environment)

    def view(self) -> dict[str, Any]:
        """What the portal reads from it."""
        done = self.run("-m", "tests.adoption.portal_view")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def execute(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Run a statement as another tool would; `?` stands for a parameter."""
        connection = self.connect()
        try:
            cursor = connection.cursor()
            cursor.execute(sql.replace("?", self.mark), parameters)
            found = [tuple(row) for row in cursor.fetchall()] if cursor.description else []
            cursor.close()
            return found
        finally:
            connection.close()

    def everything(self) -> str:
        """Every value of every table as text."""
        listing = "SHOW TABLES" if self.mark == "%s" else "SELECT name FROM sqlite_master WHERE type = 'table'"
        return "\n".join(repr(row) for (table,) in self.execute(listing) for row in self.execute(f"SELECT * FROM `{table}`"))


@contextmanager
def original_database(original: Original, request: pytest.FixtureRequest, folder: Path) -> Iterator[Database]:
    """Make an original's database, on a MariaDB server where it is one of those."""
    if not original.charset:
        path = folder / "original.sqlite3"
        make_sqlite(path, original)
        environment = {"CI_PORTAL_DATABASE__ENGINE": "sqlite", "CI_PORTAL_DATABASE__NAME": str(path)}
        yield Database(original, environment, lambda: sqlite3.connect(path, isolation_level=None), "?")
        return
    server: MariaDB = request.getfixturevalue("mariadb")
    with server.database() as name:
        make_mariadb(server, name, original)
        utc = "SET time_zone = '+00:00'"
        yield Database(original, server.environment(name), lambda: server.connect(name, init_command=utc), "%s")


FLAVOURS = [
    *(pytest.param(original, id=original.name) for original in SQLITE),
    *(pytest.param(original, id=original.name, marks=pytest.mark.needs_mariadb) for original in MARIADB),
]


#: Those that lack a unique index on repo_name.
LOOSE = [
    pytest.param(Original("sqlite-loose", unique=False), id="sqlite-loose"),
    pytest.param(MARIADB[1], id=MARIADB[1].name, marks=pytest.mark.needs_mariadb),
]


@pytest.fixture(params=LOOSE)
def original(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An original's database, not adopted yet, for one test."""
    with original_database(request.param, request, tmp_path) as database:
        yield database


@pytest.fixture(scope="module", params=FLAVOURS)
def adopted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """An original's database after `migrate --fake-initial`, for tests that leave its rows as they are."""
    with original_database(request.param, request, tmp_path_factory.mktemp("adopted")) as database:
        done = database.migrate()
        assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-4000:]
        yield database
