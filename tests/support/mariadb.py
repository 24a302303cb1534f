"""A private MariaDB server for tests: in a folder of its own, on a free port of loopback, stopped by its pid.

From the command line, to run anything against it:  python -m tests.support.mariadb run -- pytest -q
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pymysql
import pytest

from tests.support.ports import free_port

DATABASE = "ci_portal"


@dataclass
class MariaDB:
    """A server, running unless it was killed. `user` has every right on databases whose names start with `ci_portal` or `test_`."""

    port: int
    socket: Path
    user: str = "ci_portal"
    password: str = field(default="", repr=False)
    host: str = "127.0.0.1"
    command: tuple[str, ...] = field(default=(), repr=False)
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def log(self) -> Path:
        """What the server says."""
        return self.socket.parent / "log"

    def start(self) -> None:
        """Start the server, again on the same data after `kill`; it answers a little later."""
        with self.log.open("ab") as errors:
            self.process = subprocess.Popen(self.command, stdout=errors, stderr=errors)

    def kill(self) -> None:
        """SIGKILL, as a crash or the kernel does it. What was committed is there after `start`."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    def wait(self) -> None:
        """Wait until it answers."""
        deadline = time.monotonic() + 60
        while True:
            try:
                return self.connect().close()
            except pymysql.OperationalError:
                assert time.monotonic() < deadline, self.log.read_text(errors="replace")[-2000:]
                time.sleep(0.05)

    def environment(self, name: str = DATABASE) -> dict[str, str]:
        """The portal's configuration for one of its databases, as environment variables."""
        values = {
            "ENGINE": "mysql",
            "HOST": self.host,
            "PORT": self.port,
            "USER": self.user,
            "PASSWORD": self.password,
            "NAME": name,
        }
        return {f"CI_PORTAL_DATABASE__{key}": str(value) for key, value in values.items()}

    def connect(self, database: str | None = None, **options: Any) -> pymysql.connections.Connection:
        """A connection like that of another tool that shares the database: its own session settings, autocommit."""
        given = {"charset": "utf8mb4", "autocommit": True, **options}
        return pymysql.connect(host=self.host, port=self.port, user=self.user, password=self.password, database=database, **given)

    def execute(self, *statements: str, database: str | None = None) -> list[tuple[Any, ...]]:
        """Run statements one after the other and return the rows of the last."""
        with self.connect(database) as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return list(cursor.fetchall())

    @contextmanager
    def database(self, charset: str = "utf8mb4") -> Iterator[str]:
        """A new empty database, dropped afterwards."""
        name = f"{DATABASE}_{secrets.token_hex(4)}"
        self.execute(f"CREATE DATABASE {name} CHARACTER SET {charset}")
        try:
            yield name
        finally:
            self.execute(f"DROP DATABASE {name}")


def _program(name: str) -> str:
    program = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if program is None:
        raise RuntimeError(f"{name} is not installed (apt-get install mariadb-server)")
    return program


@contextmanager
def run_mariadb(memory: str = "64M") -> Iterator[MariaDB]:
    """Run a new, empty server until the block ends, with so much memory for tables.

    mariadbd won't run as root: there it runs as the user mysql.
    """
    folder = Path(tempfile.mkdtemp(prefix="ci-portal-mariadb-"))
    account = pwd.getpwnam("mysql") if os.getuid() == 0 else pwd.getpwuid(os.getuid())
    os.chown(folder, account.pw_uid, account.pw_gid)
    data, own = folder / "data", folder / "tmp"
    own.mkdir()
    os.chown(own, account.pw_uid, account.pw_gid)
    # A server that starts removes the temporary tables that it finds: in /tmp those of another one that is being installed.
    given = ["--no-defaults", f"--datadir={data}", f"--tmpdir={own}", f"--user={account.pw_name}"]
    install = [_program("mariadb-install-db"), *given, "--skip-test-db", "--auth-root-authentication-method=normal"]
    done = subprocess.run(install, capture_output=True, text=True, timeout=120)
    if done.returncode:
        shutil.rmtree(folder, ignore_errors=True)
        raise RuntimeError(f"mariadb-install-db: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    server = MariaDB(free_port(), folder / "socket", password=secrets.token_hex(16))
    # Durability costs seconds and protects nothing here: 2 outlives a killed server, though not a machine that loses its power.
    fast = [
        "--innodb-flush-log-at-trx-commit=2",
        "--innodb-flush-method=nosync",
        f"--innodb-buffer-pool-size={memory}",
        "--skip-log-bin",
    ]
    listen = ["--bind-address=127.0.0.1", f"--port={server.port}", f"--socket={server.socket}", f"--pid-file={folder / 'pid'}"]
    server.command = (_program("mariadbd"), *given, *listen, *fast)
    server.start()
    try:
        _prepare(server)
        yield server
    finally:
        assert server.process is not None
        server.process.send_signal(signal.SIGTERM)
        try:
            server.process.wait(30)
        except subprocess.TimeoutExpired:
            server.kill()
        shutil.rmtree(folder, ignore_errors=True)


def _prepare(server: MariaDB) -> None:
    """Wait for the server, make its user and first database, and give root a password."""
    root = None
    deadline = time.monotonic() + 60
    while root is None:
        if server.process is None or server.process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"mariadbd does not run: {server.log.read_text(errors='replace')[-2000:]}")
        try:
            root = pymysql.connect(unix_socket=str(server.socket), user="root")
        except pymysql.OperationalError:  # pymysql.err is another copy once Django has imported MySQLdb.converters
            time.sleep(0.05)
    with root, root.cursor() as cursor:
        cursor.execute("CREATE USER %s@'127.0.0.1' IDENTIFIED BY %s", (server.user, server.password))
        for pattern in (DATABASE, rf"{DATABASE}\_%", r"test\_%"):
            cursor.execute(f"GRANT ALL ON `{pattern.replace('%', '%%')}`.* TO %s@'127.0.0.1'", (server.user,))
        cursor.execute(f"CREATE DATABASE {DATABASE} CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci")
        cursor.execute("ALTER USER root@localhost IDENTIFIED BY %s", (server.password,))


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDB]:
    """One server for the whole test session."""
    with run_mariadb() as server:
        yield server


def main(arguments: list[str]) -> int:
    """`run -- <command>`: run the command with the portal configured for a fresh server, and return its exit status."""
    if arguments[:2] != ["run", "--"] or not arguments[2:]:
        print("usage: python -m tests.support.mariadb run -- <command> [argument…]", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as an exception it ends the server too
    with run_mariadb() as server:
        return subprocess.run(arguments[2:], env={**os.environ, **server.environment()}).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
