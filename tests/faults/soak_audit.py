"""What must be true of a portal once a soak is over, whatever was done to it: every row, object and byte."""

from __future__ import annotations

import re
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from runners.backends.manifest import RUN_UID
from tests.support.cluster import GIT_LOGIN
from tests.support.fault_site import Stand
from tests.support.portal import Answer, files_below

#: How a build ends that nobody meddles with.
EXPECTED = {"short": "3", "long": "3", "loud": "3", "odd": "3", "broken": "4"}
STATUS = {"3": "succeeded", "4": "failed", "5": "cancelled"}
#: A killed watcher's rest is seen a minute after the run has ended, in the next look or pass of another; and then it has to go.
QUIET_SECONDS = 180
_TICK = re.compile(rb"^#\d+ [\d.]+ \t?tick (\d+) of (\d+)", re.MULTILINE)  # as BuildKit shows a line
_MANIFESTS = "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"


@dataclass
class Build:
    """One check that was asked for, and what was done that may change how it ends."""

    key: str
    branch: str
    event_id: int | None = None
    may_be_cancelled: bool = False
    may_be_retried: bool = False
    last_seen: str = ""  # status of the event

    def take(self, answer: Answer) -> bool:
        """Whether the answer names the event. Raises AssertionError for one that no caller should get, or of another event."""
        if answer.status == 503:
            return False
        assert answer.status in (200, 202), (self, answer.status, answer.body)
        event_id = answer.json["event"]["id"]
        assert self.event_id in (None, event_id), f"{self} was answered with event {event_id}"
        self.event_id = event_id
        return True


def audit(stand: Stand, builds: list[Build], deleted: dict[str, set[str]]) -> str:
    """Look at everything; returns what there is in a few lines. Raises AssertionError that lists all that is wrong."""
    deadline = time.monotonic() + QUIET_SECONDS
    while (unquiet := [*_rows(stand, builds), *_left(stand)]) and time.monotonic() < deadline:
        time.sleep(2)
    wrong = [
        *unquiet,
        *(f"{build.key} ({build.branch}): {each}" for build in builds for each in _of_build(stand, build, deleted)),
        *_compared(stand),
        *_files(stand),
        *_logs(stand),
        *_secrets(stand),
    ]
    assert not wrong, "\n".join(wrong)
    ended = Counter(stand.portal.event(build.event_id or 0)["status"] for build in builds)
    told = ", ".join(f"{number} {STATUS[status]}" for status, number in sorted(ended.items()))
    return f"{len(builds)} builds ({told}); {len(deleted)} of them had something deleted"


def _of_build(stand: Stand, build: Build, deleted: dict[str, set[str]]) -> Iterator[str]:
    event, runs = stand.portal.event(build.event_id or 0), stand.runs(build.event_id or 0)
    meddled = [run["name"] for run in runs if run["name"] in deleted]
    allowed = {EXPECTED[build.branch]} | ({"5"} if build.may_be_cancelled else set()) | ({"4"} if meddled else set())
    if event["status"] not in allowed:
        yield f"ended as {event['status_label']}: {event['reason']}"
    if len(runs) > 1 + build.may_be_retried + len(meddled):
        yield f"has {len(runs)} runs"
    if event["status"] == "3" != runs[-1]["status"] and runs[-1]["status"] != "succeeded":
        yield f"succeeded, but its last run is {runs[-1]['status']}"
    if event["status"] == "3" and event["digest"] != _served(stand, event):
        yield f"the registry has not its digest {event['digest']!r}"
    history = stand.history(build.event_id or 0)
    for run in runs:
        if run["status"] not in STATUS.values():
            yield f"run {run['name']} is {run['status']}"
        told = [line for line in history if line.startswith(f"run {run['name']} {run['status']}:")]
        if len(told) != 1:
            yield f"its history tells {len(told)} times how run {run['name']} ended: {history}"
        if max(stand.site.census.of(run["name"])) > 1:
            yield f"run {run['name']} had Jobs, pods: {stand.site.census.of(run['name'])}"
        yield from _output(stand, build, run, whole=run["name"] not in deleted and not build.may_be_cancelled)


def _output(stand: Stand, build: Build, run: dict[str, Any], *, whole: bool) -> Iterator[str]:
    """`whole`: nothing of it may be missing. Even else there is nothing twice, or out of its order."""
    answer = stand.portal.get(f"/job/{run['id']}/output/status/")
    if answer.status != 200:
        if whole:
            yield f"run {run['name']} has no output: {answer.status}"
        return
    known, stored = answer.json, stand.portal.output(run["id"])
    if len(stored) != known["size"]:
        yield f"{len(stored)} bytes of output are served, {known['size']} counted"
    if whole and known["verdict"] != "verified":
        yield f"output of run {run['name']}: {known['verdict_detail']}"
    ticks = [(int(number), int(of)) for number, of in _TICK.findall(stored)]
    numbers = [number for number, of in ticks if of == ticks[-1][1]]
    if numbers != sorted(set(numbers)):
        yield f"output of run {run['name']}: lines are there twice or in another order"
    if whole and (not ticks or numbers != list(range(1, ticks[-1][1] + 1))):
        yield f"output of run {run['name']}: {len(numbers)} lines of {ticks[-1][1] if ticks else 'all'}"
    if whole and not stand.pods(run["name"]):
        yield f"run {run['name']} has no pod: {run}"
    elif whole:
        streams = {stream["container"]: stream for stream in known["streams"]}
        for container, data in stand.printed(run["name"]).items():
            if data and data.replace(b"\r", b"") not in stored.replace(b"\r", b""):
                yield f"output of {container} of run {run['name']} ({streams[container]}) is not what the kubelet has"


def _served(stand: Stand, event: dict[str, Any]) -> str:
    registry = stand.site.shop.registry
    path = event["image"].removeprefix(f"{registry.address}/")
    answer = registry.request("HEAD", f"/v2/{path}/manifests/{event['Image_tag']}", headers={"Accept": _MANIFESTS})
    return answer.headers.get("Docker-Content-Digest", "no digest")


def _rows(stand: Stand, builds: list[Build]) -> Iterator[str]:
    ids = [build.event_id for build in builds]
    if len(ids) != len(set(ids)):
        yield "two checks with keys of their own have one event"
    events, chunks, untidy = (
        stand.site.mariadb.execute(f"SELECT COUNT(*) FROM {table}", database=stand.database)[0][0]
        for table in ("event", "output_chunk", "runner WHERE launched_at IS NOT NULL AND tidied_at IS NULL")
    )
    if events != len(builds):
        yield f"{len(builds)} builds were asked for, and there are {events} events"
    if chunks:
        yield f"{chunks} chunks of output are left in the database"
    if untidy:
        yield f"{untidy} runs were not tidied up after"


def _story(stand: Stand, name: str) -> str:
    """What the rows and the cluster know of a run, for whoever looks for the cause."""
    columns = "status, epoch, ctime, launched_at, finished_at, tidied_at, cancel_requested_at, reason"
    rows = stand.site.mariadb.execute(f"SELECT {columns} FROM runner WHERE name = '{name}'", database=stand.database)
    job = stand.site.shop.space.get("jobs", name)
    return f"row {[str(value) for row in rows for value in row]}, Job {job and job['status']}"


def _left(stand: Stand) -> Iterator[str]:
    """What the cluster still holds; it removes what belonged to a deleted Job in its own time."""
    space = stand.site.shop.space
    for kind in ("jobs", "pods", "secrets"):
        for item in space.admin.request("GET", space.path(kind), query={"labelSelector": RUN_UID})[0]["items"]:
            name, status = item["metadata"]["name"], item.get("status", {})
            if kind == "secrets":
                yield f"Secret {name} is left, of {item['metadata']['creationTimestamp']}: {_story(stand, name)}"
            elif status.get("active") or status.get("phase") in ("Pending", "Running"):
                yield f"{kind[:-1]} {name} still runs"


def _compared(stand: Stand) -> Iterator[str]:
    """What the portal's own comparison says of rows and cluster."""
    said = stand.portal.folder / "reconcile.log"
    deadline = time.monotonic() + 30
    compare = partial(stand.portal.manage, "reconcile", "--dry-run", log="reconcile.log")
    while compare().wait(60) or "Everything matches." not in said.read_text():
        if time.monotonic() > deadline:
            yield f"manage.py reconcile --dry-run: {said.read_text()[-1000:]}"
            return
        said.unlink()


def _files(stand: Stand) -> Iterator[str]:
    rows = stand.site.mariadb.execute("SELECT archive FROM output WHERE archive != ''", database=stand.database)
    wanted = {name for (name,) in rows}
    folder = stand.portal.folder / "output"
    found = {str(path.relative_to(folder)) for path in files_below(folder)}
    if wanted != found:
        yield f"archives: without a file {sorted(wanted - found)[:5]}, without a row {sorted(found - wanted)[:5]}"


def _logs(stand: Stand) -> Iterator[str]:
    for path in sorted(stand.portal.folder.glob("*.log")):
        text = path.read_text(errors="replace")
        if "Traceback (most recent call last)" in text:
            yield f"{path.name}: {text[text.index('Traceback') - 300 :][:2500]}"
        yield from (f"{path.name}: {line}" for line in text.splitlines() if re.search(r'HTTP/1\.1" 500', line))


def _secrets(stand: Stand) -> Iterator[str]:
    server = stand.site.mariadb
    defaults = Path(stand.portal.folder / "client.cnf")
    defaults.write_text(f"[client]\nuser={server.user}\npassword={server.password}\nhost={server.host}\nport={server.port}\n")
    dump = subprocess.run(
        ["mariadb-dump", f"--defaults-file={defaults}", "--skip-lock-tables", stand.database], capture_output=True, check=True
    ).stdout
    defaults.unlink()
    kept = stand.portal.everything() + dump
    for name, secret in (("git token", GIT_LOGIN[1]), ("registry password", stand.site.shop.registry.password)):
        if secret.encode() in kept:
            yield f"the {name} is in what the portal keeps"
