"""A management command that meets a fault at a write of its own choosing: `python -m tests.support.faulty watch`.

A write is what another process or a later one could see: a commit, an INSERT, UPDATE or DELETE outside of a transaction, a request
that changes something in the cluster, a file in the output's storage. The product knows nothing of this module. Environment:

FAULT        JSON: {"do": "kill" or "stop", "when": "before" or "after", "number": 3, "what": "POST jobs"}; the process gets SIGKILL
             or SIGSTOP at the `number`-th write whose description the regular expression `what` finds (default: any, the first).
             "do": "stop and kill": SIGSTOP before the write, and once it woke and has written, SIGKILL
FAULT_TRACE  a file to which the description of each write is added once it is done
FAULT_SET    JSON: {"runners.launch.LAUNCH_SECONDS": 5}; constants of the product with another value
"""

from __future__ import annotations

import importlib
import json
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import django
from django.core.files.storage import FileSystemStorage
from django.core.management import execute_from_command_line
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

from runners.backends.kubernetes_api import Api

FAULT = {"do": "kill", "when": "after", "number": 1, "what": "", **json.loads(os.environ.get("FAULT", '{"number": 0}'))}
TRACE = os.environ.get("FAULT_TRACE", "")
SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}
_WRITE = re.compile(r"\s*(?:INSERT (?:OR \w+ |IGNORE )?INTO|UPDATE|DELETE FROM|REPLACE INTO) [`\"]?(\w+)", re.IGNORECASE)

_lock = threading.Lock()
_seen = 0


@contextmanager
def write(what: str) -> Iterator[None]:
    """A write of this description happens in the block."""
    global _seen
    with _lock:
        _seen += bool(re.search(FAULT["what"], what))
        mine = bool(re.search(FAULT["what"], what)) and _seen == FAULT["number"]
    if mine and FAULT["do"] == "stop and kill":
        _meet(what, "stop")
    elif mine and FAULT["when"] == "before":
        _meet(what)
    yield
    if TRACE:
        with _lock, open(TRACE, "a") as file:
            file.write(f"{what}\n")
    if mine and FAULT["do"] == "stop and kill":
        _meet(what, "kill")
    elif mine and FAULT["when"] == "after":
        _meet(what)


def _meet(what: str, do: str = FAULT["do"]) -> None:
    print(f"fault: {do} {FAULT['when']} write {FAULT['number']} {FAULT['what']!r}: {what}", file=sys.stderr, flush=True)
    os.kill(os.getpid(), SIGNALS[do])


class Statements:
    """Sees one connection's statements: what writes counts when it is committed, or at once where there is no transaction."""

    def __init__(self) -> None:
        self.tables: set[str] = set()

    def __call__(self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
        found = _WRITE.match(sql)
        if found and context["connection"].in_atomic_block:
            self.tables.add(found[1])
        elif found:
            with write(f"write {found[1]}"):
                return execute(sql, params, many, context)
        return execute(sql, params, many, context)


def _watch_connection(connection: BaseDatabaseWrapper, **_: Any) -> None:
    if not any(isinstance(wrapper, Statements) for wrapper in connection.execute_wrappers):
        connection.execute_wrappers.append(Statements())


def _watch_commits() -> None:
    commit, rollback = BaseDatabaseWrapper._commit, BaseDatabaseWrapper._rollback

    def tables(self: BaseDatabaseWrapper) -> set[str]:
        return next((wrapper.tables for wrapper in self.execute_wrappers if isinstance(wrapper, Statements)), set())

    def watched_commit(self: BaseDatabaseWrapper) -> None:
        written = tables(self)
        if not written:
            return commit(self)
        with write(f"commit {' '.join(sorted(written))}"):
            commit(self)
            written.clear()

    def watched_rollback(self: BaseDatabaseWrapper) -> None:
        tables(self).clear()
        rollback(self)

    BaseDatabaseWrapper._commit, BaseDatabaseWrapper._rollback = watched_commit, watched_rollback


def _watch_cluster() -> None:
    request = Api.request

    def watched(self: Api, method: str, path: str, body: Any = None, query: dict[str, str] | None = None, **more: Any) -> Any:
        if method == "GET" or (query and "dryRun" in query):
            return request(self, method, path, body, query, **more)
        kind = re.search(r"/namespaces/[^/]+/(\w+)", path)
        with write(f"{method} {kind[1] if kind else path}"):
            return request(self, method, path, body, query, **more)

    Api.request = watched


def _watch_storage() -> None:
    save, delete = FileSystemStorage._save, FileSystemStorage.delete

    def watched_save(self: FileSystemStorage, name: str, content: Any) -> str:
        with write("save file"):
            return save(self, name, content)

    def watched_delete(self: FileSystemStorage, name: str) -> None:
        with write("delete file"):
            delete(self, name)

    FileSystemStorage._save, FileSystemStorage.delete = watched_save, watched_delete


def main(arguments: list[str]) -> None:
    """Run the management command, watched."""
    _watch_commits()
    _watch_cluster()
    _watch_storage()
    connection_created.connect(_watch_connection, weak=False)
    django.setup()
    for name, value in json.loads(os.environ.get("FAULT_SET", "{}")).items():
        module, _, constant = name.rpartition(".")
        assert hasattr(importlib.import_module(module), constant), name
        setattr(importlib.import_module(module), constant, value)
    execute_from_command_line(["manage.py", *arguments])


if __name__ == "__main__":
    main(sys.argv[1:])
