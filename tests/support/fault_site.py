"""Portals whose processes meet faults, on the real cluster and MariaDB, and the audit of what is left when all is over."""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import signal
import subprocess
import sys
import threading
import time
import urllib.error
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
from urllib3.exceptions import HTTPError

from runners.backends.kubernetes_api import ApiError
from tests.endtoend.stage import DOCKERFILE
from tests.support.cluster import BUILDER_IMAGE, BUSYBOX, GIT_LOGIN, HOST, Namespace, Workshop, workshop
from tests.support.git_server import BareRepository
from tests.support.mariadb import MariaDB, run_mariadb
from tests.support.portal import ROOT, Answer, Portal, portal
from tests.support.waiting import until

#: The API server's address for a process that shall find the cluster away.
NOWHERE = "https://127.0.0.1:9"
#: What the kubelet says, with status 200, where it has removed a log.
NO_LOG = (b"failed to try resolving symlinks", b"unable to retrieve container logs")
#: How long the launch of a process that is killed keeps others waiting, in these tests.
LAUNCH_SECONDS = 4
ENDED = ("3", "4", "5")


@dataclass
class Fault:
    """What a process of the portal shall meet: see tests.support.faulty. Number 0: nothing, but its constants."""

    number: int = 1
    what: str = ""
    do: str = "kill"
    when: str = "after"
    constants: dict[str, float] = field(default_factory=lambda: {"runners.launch.LAUNCH_SECONDS": LAUNCH_SECONDS})

    def environment(self) -> dict[str, str]:
        """For the process."""
        said = {"number": self.number, "what": self.what, "do": self.do, "when": self.when}
        return {"FAULT": json.dumps(said), "FAULT_SET": json.dumps(self.constants)}


class FaultyPortal(Portal):
    """A portal whose processes are started one by one, each with its own fault."""

    def start(self) -> None:
        """Make the tables; nothing runs yet."""
        migrated = self.manage("migrate", "--verbosity", "0", log="migrate.log").wait(120)
        assert migrated == 0, (self.folder / "migrate.log").read_text()

    def faulty(self, fault: Fault | None, *arguments: str, log: str, **environment: str) -> subprocess.Popen[bytes]:
        """Start a management command that meets the fault."""
        command = [sys.executable, "-m", "tests.support.faulty" if fault else "manage", *arguments]
        environment = {**self.environment, **(fault.environment() if fault else {}), **environment}
        with (self.folder / log).open("ab") as out:
            return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=out, stderr=out, stdin=subprocess.DEVNULL)

    def start_web(self, fault: Fault | None = None, **environment: str) -> subprocess.Popen[bytes]:
        """Start the web server and wait until it answers."""
        arguments = ("runserver", "--noreload", f"127.0.0.1:{self.port}")
        self.web = self.faulty(fault, *arguments, log="web.log", **environment)
        until(self.answers, 60, self.logs)
        return self.web

    def start_watcher(self, fault: Fault | None = None, **environment: str) -> subprocess.Popen[bytes]:
        """Start one more watcher."""
        watcher = self.faulty(fault, "watch", log="watch.log", **environment)
        self.watchers.append(watcher)
        return watcher

    def answers(self) -> bool:
        """Whether the web server does."""
        assert self.web is not None
        assert self.web.poll() is None, self.logs()
        with contextlib.suppress(OSError):
            return self.get("/repo/").status == 200
        return False

    def has_met(self, what: str) -> bool:
        """Whether a process has met its fault: "kill" or "stop"."""
        return any(f"fault: {what}" in path.read_text(errors="replace") for path in self.folder.glob("*.log"))

    def end(self, process: subprocess.Popen[bytes]) -> None:
        """SIGKILL to one process, stopped ones too."""
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.wait()
        if process in self.watchers:
            self.watchers.remove(process)

    def stop(self) -> None:
        """End every process of it; a stopped one is woken first."""
        for process in (self.web, *self.watchers):
            if process and process.poll() is None:
                process.send_signal(signal.SIGCONT)
        super().stop()

    def patient(self, path: str) -> Answer | None:
        """GET, or None where the portal could not answer now."""
        with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
            answer = self.get(path)
            return answer if answer.status == 200 else None
        return None

    def ended(self, event_id: int, seconds: float = 120) -> dict[str, Any]:
        """Wait for the event's end through whatever happens meanwhile; returns its row."""

        def look() -> dict[str, Any] | None:
            answer = self.patient(f"/event/{event_id}/")
            return answer.json if answer and answer.json["status"] in ENDED else None

        return dict(until(look, seconds, self.logs, every=0.5))


class Census:
    """Every Job and pod that there ever was in a namespace, as the cluster itself told: {name of the Job: {object uid}}."""

    def __init__(self, space: Namespace) -> None:
        self.space = space
        self.seen: dict[str, dict[str, set[str]]] = {kind: defaultdict(set) for kind in ("jobs", "pods")}
        self.error: Exception | None = None
        self.closed = False
        for kind in self.seen:
            version = self._list(kind)
            threading.Thread(target=self._watch, args=(kind, version), daemon=True).start()

    def of(self, job: str) -> tuple[int, int]:
        """How many Jobs of this name there were, ever, and how many pods of theirs."""
        assert self.error is None, self.error
        return len(self.seen["jobs"][job]), len(self.seen["pods"][job])

    def _list(self, kind: str) -> str:
        """Note all that there is now; returns the version to watch from."""
        answer = self.space.admin.request("GET", self.space.path(kind))[0]
        for item in answer["items"]:
            self._note(kind, {"type": "ADDED", "object": item})
        return str(answer["metadata"]["resourceVersion"])

    def _watch(self, kind: str, version: str) -> None:
        while not self.closed:
            try:
                version = version or self._list(kind)
                query = {"watch": "true", "resourceVersion": version, "timeoutSeconds": "60", "allowWatchBookmarks": "true"}
                reply = self.space.admin.stream(self.space.path(kind), query, 90)
                for line in reply:
                    for part in filter(None, line.split(b"\n")):
                        version = self._note(kind, orjson.loads(part))
            except (ApiError, HTTPError) as error:
                time.sleep(0.2)
                version = "" if getattr(error, "status", 0) == 410 else version  # history is lost
            except Exception as error:
                self.error = error
                return

    def _note(self, kind: str, news: dict[str, Any]) -> str:
        if news["type"] == "ERROR":
            raise ApiError(news["object"].get("code", 0), str(news["object"]))
        meta = news["object"]["metadata"]
        if news["type"] != "BOOKMARK":
            job = meta["name"] if kind == "jobs" else meta.get("labels", {}).get("batch.kubernetes.io/job-name", "")
            self.seen[kind][job].add(meta["uid"])
        return str(meta["resourceVersion"])


#: Builds of a few lines in about a second and a half, so that its output comes in several pieces.
SHORT = 'RUN i=0; while [ $i -lt 8 ]; do i=$((i+1)); echo "line $i of the short build"; /bin/busybox usleep 150000; done\n'
#: And of some length, for a watcher that is away or stopped.
LONG = 'RUN i=0; while [ $i -lt 250 ]; do i=$((i+1)); echo "tick $i of the long build"; /bin/busybox usleep 100000; done\n'
BRANCHES = {"main": SHORT, "long": LONG}


@dataclass
class Stand:
    """One portal of a site, and what is asked of it."""

    site: Site
    portal: FaultyPortal
    database: str = ""  # its name in MariaDB

    def check(self, branch: str = "main", key: str = "", **body: Any) -> Answer:
        """POST /check/ with user and token, as a script does."""
        url = self.site.shop.git.url("team/app.git", HOST)
        user, token = GIT_LOGIN
        sent = {"repo": url, "user": user, "token": token, "branch": branch, "ca_secret": "test-ca", "force": True, **body}
        return self.portal.post("/check/", sent, **({"Idempotency_Key": key} if key else {}))

    def started(self, branch: str = "main") -> tuple[int, int]:
        """Check; returns the ids of the event and of its run."""
        answer = self.check(branch)
        assert answer.status == 202, (answer.body, self.portal.logs())
        return answer.json["event"]["id"], answer.json["job"]["id"]

    def runs(self, event_id: int) -> list[dict[str, Any]]:
        """The event's runs, the oldest first."""
        return list(self.portal.get(f"/job/?event={event_id}&ordering=id").json["results"])

    def history(self, event_id: int) -> list[str]:
        """The event's lines of history, the oldest first."""
        return [entry["msg"] for entry in self.portal.get(f"/log/?event_uuid={event_id}&ordering=id&page_size=200").json["results"]]

    def wait_for_output(self, run_id: int, text: bytes, seconds: float = 60) -> None:
        """Wait until the run has printed this."""
        until(lambda: text in self.portal.output(run_id), seconds, self.portal.logs, every=0.3)

    def pods(self, job: str) -> list[dict[str, Any]]:
        """The Job's pods that are there now."""
        space = self.site.shop.space
        query = {"labelSelector": f"batch.kubernetes.io/job-name={job}"}
        return list(space.admin.request("GET", space.path("pods"), query=query)[0]["items"])

    def printed(self, job: str) -> dict[str, bytes]:
        """What the Job's containers printed, as far as the kubelet still has it: of a loud build the end."""
        admin, space = self.site.shop.space.admin, self.site.shop.space
        (pod,) = self.pods(job)
        path = f"{space.path('pods')}/{pod['metadata']['name']}/log"
        names = [part["name"] for part in (*pod["spec"].get("initContainers", []), *pod["spec"]["containers"])]
        printed = {name: admin.stream(path, {"container": name}, 20).read() for name in names}
        return {name: data for name, data in printed.items() if not data.startswith(NO_LOG)}

    def archived(self, event_id: int) -> bool:
        """Whether nothing more happens to the event: its last run's output is in the storage."""
        run = self.runs(event_id)[-1]
        known = self.portal.get(f"/job/{run['id']}/output/status/")
        return known.status == 200 and bool(known.json["archived"])

    def audit(self, event_id: int, status: str = "3", *, gap_is_fine: bool = False) -> None:
        """One Job, one pod, one outcome, a history that tells it once, and every byte that was printed.

        `gap_is_fine`: bytes may be missing if the portal says how many.
        """
        event = self.portal.ended(event_id)
        assert event["status"] == status, (event, self.portal.logs())
        (run,) = self.runs(event_id)
        assert run["status"] == {"3": "succeeded", "4": "failed", "5": "cancelled"}[status]
        assert self.site.census.of(run["name"]) == (1, 1)
        told = self.history(event_id)
        assert len(told) == len(set(told)), told
        assert len([line for line in told if line.startswith(f"run {run['name']} {run['status']}:")]) == 1, told
        known = self.portal.output_status(run["id"])
        if not gap_is_fine or known["verdict"] != "gap":
            assert known["verdict"] == "verified", (known["verdict_detail"], known, self.portal.logs())
        else:
            assert re.search(r"\d+ (of \d+ bytes are missing|more bytes were read than)", known["verdict_detail"]), known
        stored = self.portal.output(run["id"])
        assert len(stored) == known["size"]
        # What gaps are fine for may have taken the pod as well; the container's own count has proved the output then.
        if known["verdict"] == "verified" and (not gap_is_fine or self.pods(run["name"])):
            streams = {stream["container"]: stream for stream in known["streams"]}
            for container, data in self.printed(run["name"]).items():
                start = streams[container]["start"]
                assert stored[start : start + streams[container]["raw_bytes"]].endswith(data)


@dataclass
class Site:
    """What all portals share: a namespace, a git server, a registry, a MariaDB server."""

    folder: Path
    shop: Workshop
    mariadb: MariaDB
    census: Census
    application: BareRepository

    def branch(self, name: str, step: str, **files: bytes) -> None:
        """A branch of team/app.git whose Dockerfile has this step."""
        self.application.commit({"Dockerfile": DOCKERFILE + step, "busybox": BUSYBOX.read_bytes(), **files}, branch=name)

    @contextmanager
    def portal(self, engine: str = "mysql", of: type[FaultyPortal] = FaultyPortal, **sections: Any) -> Iterator[Stand]:
        """A portal with a database of its own; its processes are yet to be started."""
        with ExitStack() as stack:
            folder = self.folder / f"portal-{secrets.token_hex(4)}"
            configuration, name = self._configuration(), ""
            if engine == "mysql":
                name = stack.enter_context(self.mariadb.database())
                server = {key: getattr(self.mariadb, key) for key in ("host", "port", "user", "password")}
                configuration["database"] = {"engine": "mysql", "name": name, **server}
            for section, keys in sections.items():
                configuration[section] = {**configuration.get(section, {}), **keys}
            running = stack.enter_context(portal(folder, of, **configuration))
            assert isinstance(running, FaultyPortal)
            yield Stand(self, running, name)

    def nowhere(self) -> dict[str, str]:
        """Environment of a process that finds the cluster away."""
        path = self.folder / "nowhere.kubeconfig"
        if not path.exists():
            path.touch(mode=0o600)
            path.write_text(re.sub(r"server: .*", f"server: {NOWHERE}", Path(self.shop.space.kubeconfig).read_text()))
        return {"CI_PORTAL_KUBERNETES__KUBECONFIG": str(path)}

    def _configuration(self) -> dict[str, dict[str, Any]]:
        (self.folder / "ca.pem").write_text(self.shop.git.ca_pem)
        registry = self.shop.registry
        login = {"username": registry.username, "password": registry.password}
        return {
            "git": {"ca_bundle": str(self.folder / "ca.pem"), "allow_private_networks": True},
            "registry": {"address": registry.address, "repository": f"ci-{secrets.token_hex(4)}", **login},
            "build": {"backend": "kubernetes", "builder_image": BUILDER_IMAGE, "max_running": 0},
            "kubernetes": {"kubeconfig": self.shop.space.kubeconfig, "namespace": self.shop.space.name},
        }


@contextmanager
def site(folder: Path) -> Iterator[Site]:
    """Start what portals share, and count what they make in the cluster."""
    with workshop(folder, "ci-portal-faults") as shop, run_mariadb() as mariadb:
        census = Census(shop.space)
        made = Site(folder, shop, mariadb, census, shop.repository("team/app.git"))
        for name, step in BRANCHES.items():
            made.branch(name, step)
        yield made
        census.closed = True
