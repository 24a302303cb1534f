"""The servers that rows need, each started when a row first asks for it and ended with the benchmark."""

from __future__ import annotations

import http.client
import json
import os
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from tests.endtoend.stage import DOCKERFILE
from tests.support.cluster import BUILDER_IMAGE, BUSYBOX, GIT_LOGIN, HOST, Workshop, workshop
from tests.support.git_server import BareRepository
from tests.support.mariadb import MariaDB, run_mariadb
from tests.support.portal import portal
from tests.support.uwsgi_portal import UwsgiPortal, descendants
from tests.support.waiting import until


@dataclass(frozen=True)
class Plan:
    """How much a row shall do. `size` and `repeat` are 0 where the row decides."""

    quick: bool = False
    size: int = 0
    repeat: int = 0

    def repeats(self, usual: int, quick: int = 2) -> int:
        """How often to measure."""
        return self.repeat or (quick if self.quick else usual)

    def sized(self, usual: int, quick: int) -> int:
        """How much to measure with."""
        return self.size or (quick if self.quick else usual)


@dataclass
class Place:
    """What rows share: MariaDB, and a namespace of the cluster of KUBECONFIG with a git server and a registry."""

    folder: Path
    stack: ExitStack = field(default_factory=ExitStack)

    @cached_property
    def mariadb(self) -> MariaDB:
        """A server of its own, with 256 MiB for tables."""
        return self.stack.enter_context(run_mariadb("256M"))

    @cached_property
    def shop(self) -> Workshop:
        """Cluster, git server and registry, with the portal's own account and Role."""
        folder = self.folder / "shop"
        folder.mkdir()
        return self.stack.enter_context(workshop(folder, "ci-portal-bench"))

    @cached_property
    def application(self) -> BareRepository:
        """The repository team/app.git; see `branch`."""
        made = self.shop.repository("team/app.git")
        made.commit({"Dockerfile": DOCKERFILE + 'RUN echo "hello"\n', "busybox": BUSYBOX.read_bytes()})
        return made

    def branch(self, name: str, step: str) -> None:
        """A branch of team/app.git whose Dockerfile has this step."""
        self.application.commit({"Dockerfile": DOCKERFILE + step, "busybox": BUSYBOX.read_bytes()}, branch=name)

    @cached_property
    def buildah(self) -> BenchPortal:
        """A portal for rows about output: buildah hands on each line at once, BuildKit gathers lines for a tenth of a second."""
        site = self.stack.enter_context(self.portal(build={"builder": "buildah"}))
        site.wait_for_watcher()
        return site

    @contextmanager
    def portal(self, engine: str = "mysql", cluster: bool = True, **sections: Any) -> Iterator[BenchPortal]:
        """A portal as production runs it (uWSGI and its watcher), with a database of its own and without rate limits."""
        with ExitStack() as stack:
            folder = self.folder / f"portal-{secrets.token_hex(4)}"
            limits = ("check", "dry_run", "remote", "search", "login", "wrong_tokens")
            configuration: dict[str, dict[str, Any]] = {
                "limits": dict.fromkeys(limits, 0),
                "build": {"folder": str(folder / "work")},
            }
            name = ""
            if engine == "mysql":
                name = stack.enter_context(self.mariadb.database())
                server = {key: getattr(self.mariadb, key) for key in ("host", "port", "user", "password")}
                configuration["database"] = {"engine": "mysql", "name": name, **server}
            if cluster:
                configuration |= self._cluster()
            for section, keys in sections.items():
                configuration[section] = {**configuration.get(section, {}), **keys}
            running = stack.enter_context(portal(folder, BenchPortal, **configuration))
            assert isinstance(running, BenchPortal)
            running.database = name
            yield running

    def _cluster(self) -> dict[str, dict[str, Any]]:
        bundle = self.folder / "ca.pem"
        bundle.write_text(self.shop.git.ca_pem)
        registry = self.shop.registry
        login = {"username": registry.username, "password": registry.password}
        return {
            "git": {"ca_bundle": str(bundle), "allow_private_networks": True},
            "registry": {"address": registry.address, "repository": f"ci-{secrets.token_hex(4)}", **login},
            "build": {"backend": "kubernetes", "builder_image": BUILDER_IMAGE, "max_running": 0},
            "kubernetes": {"kubeconfig": self.shop.space.kubeconfig, "namespace": self.shop.space.name},
        }

    def check(self, **body: Any) -> dict[str, Any]:
        """The body of a check of team/app.git, which builds anew."""
        user, token = GIT_LOGIN
        assert self.application
        return {
            "repo": self.shop.git.url("team/app.git", HOST),
            "user": user,
            "token": token,
            "branch": "main",
            "force": True,
            **body,
        }

    def close(self) -> None:
        """End all that was started."""
        self.stack.close()


class BenchPortal(UwsgiPortal):
    """uWSGI with one process, MariaDB or SQLite, and its watcher."""

    database = ""
    dump: ClassVar[bytes] = b""

    def make_tables(self) -> None:
        """Migrate; in MariaDB once for all portals of this process, since it takes seconds."""
        configured = json.loads(Path(self.environment["CI_PORTAL_CONFIG_FILE"]).read_text())["database"]
        if configured.get("engine") != "mysql":
            return super().make_tables()
        login = [f"--{key}={configured[key]}" for key in ("host", "port", "user")]
        environment = {**os.environ, "MYSQL_PWD": configured["password"]}
        if not BenchPortal.dump:
            super().make_tables()
            command = ["mariadb-dump", *login, configured["name"]]
            BenchPortal.dump = subprocess.run(command, env=environment, capture_output=True, check=True).stdout
        else:
            subprocess.run(["mariadb", *login, configured["name"]], env=environment, input=BenchPortal.dump, check=True)
        return None

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, bytes]:
        """One request with as little of a client as there can be; returns status and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        data = None if body is None else json.dumps(body).encode()
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, data, sent | ({"Content-Type": "application/json"} if data else {}))
        answer = connection.getresponse()
        read = answer.read()
        connection.close()
        return answer.status, read

    def checked(self, body: dict[str, Any]) -> dict[str, Any]:
        """POST /check/; returns its answer, which must be a new event."""
        status, answer = self.ask("POST", "/check/", body)
        assert status == 202, (status, answer, self.logs())
        return dict(json.loads(answer))

    @contextmanager
    def beside(self) -> Iterator[BenchPortal]:
        """A second portal with a watcher of its own, on the same configuration and database."""
        folder = self.folder / "beside"
        folder.mkdir()
        second = BenchPortal(folder, self.environment)
        second.database = self.database
        try:
            second._start_processes()
            yield second
        finally:
            second.stop()

    def server(self) -> int:
        """The id of the process that serves."""
        assert self.web
        return next(pid for pid in descendants(self.web.pid) if pid != self.watcher())

    def wait_for_watcher(self) -> int:
        """The watcher's process id, once it follows the backend."""
        return int(until(lambda: self.watcher() if "watching backend" in self.log() else 0, 60))
