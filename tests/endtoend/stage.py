"""A portal with everything around it, for each backend: git over https and a TLS registry, each with a login and one CA."""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support import cluster
from tests.support.cluster import BUSYBOX, GIT_LOGIN, PUSH_LOGIN, workshop
from tests.support.git_server import GitServer, git_server
from tests.support.mariadb import DATABASE, MariaDB
from tests.support.pki import Authority
from tests.support.portal import Answer, Portal, portal
from tests.support.registry_server import RegistryServer, run_registry

#: An image without a base image whose /bin/sh is busybox: buildah ignores SHELL in images of the OCI format.
DOCKERFILE = "FROM scratch\nCOPY --chmod=755 busybox /bin/busybox\nCOPY --chmod=755 busybox /bin/sh\n"
LINES = 600_000
WORDS = "the quick brown fox jumps over the lazy dog, and again, and again, until it is 92 wide"
LOUD = f'BEGIN {{ for (i = 0; i < {LINES}; i++) printf "%06d {WORDS}\\n", i }}'
#: Ten minutes of a line each second.
TICKING = 'i=0; while [ $i -lt 600 ]; do i=$((i+1)); echo "tick $i"; /bin/busybox sleep 1; done\n'
BRANCHES = {
    "main": 'RUN echo "hello from the build"\n',
    "broken": "RUN echo before\nRUN exit 7\n",
    "slow": 'RUN i=0; while [ $i -lt 80 ]; do i=$((i+1)); echo "tick $i of the slow build"; /bin/busybox usleep 100000; done\n',
    "long": f"RUN {TICKING}",
    "stubborn": f'RUN trap "" TERM INT; {TICKING}',
    "odd": 'RUN printf "caf\\351 \\000 \\033[31mred\\033[0m 50%%\\r100%%\\nno newline at the end"\n',
    # The pause is for buildah, which drops what its pipe still holds when a step ends (docs/decisions/0013-rotated-logs.md).
    "loud": f"RUN /bin/busybox awk '{LOUD}'; /bin/busybox sleep 1\n",
}


@dataclass
class Stage:
    """A running portal, and what it works with."""

    kind: str
    portal: Portal
    git: GitServer
    registry: RegistryServer
    host: str
    shop: cluster.Workshop | None = None
    mariadb: MariaDB | None = None

    def database_dump(self) -> bytes:
        """Every row of every table; of SQLite the portal's folder has the file."""
        if self.mariadb is None:
            return b""
        with self.mariadb.connect(DATABASE) as connection, connection.cursor() as cursor:
            cursor.execute("SHOW TABLES")
            rows = []
            for (table,) in cursor.fetchall():
                cursor.execute(f"SELECT * FROM `{table}`")
                rows += cursor.fetchall()
        return b"\n".join(value if isinstance(value, bytes) else str(value).encode() for row in rows for value in row)

    def check(self, branch: str = "main", **body: Any) -> Answer:
        """POST /check/ with user and token, as a script does."""
        url = self.git.url("team/app.git", self.host)
        user, token = GIT_LOGIN
        sent = {"repo": url, "user": user, "token": token, "branch": branch, "ca_secret": "test-ca", "force": True, **body}
        return self.portal.post("/check/", sent)

    def served_digest(self, event: dict[str, Any]) -> str:
        """What the registry serves under the event's tag."""
        path = event["image"].removeprefix(f"{self.registry.address}/")
        kinds = "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"
        answer = self.registry.request("HEAD", f"/v2/{path}/manifests/{event['Image_tag']}", headers={"Accept": kinds})
        return answer.headers.get("Docker-Content-Digest", "")

    def history(self, event: dict[str, Any]) -> list[str]:
        """The event's lines of history, the oldest first."""
        return [entry["msg"] for entry in self.portal.get(f"/log/?event_uuid={event['id']}&ordering=id").json["results"]]

    def wait_for_output(self, run_id: int, text: bytes, seconds: float = 60) -> None:
        """Wait until the run has printed this."""
        deadline = time.monotonic() + seconds
        while text not in self.portal.output(run_id):
            assert time.monotonic() < deadline, self.portal.logs()
            time.sleep(0.1)

    def jobs(self) -> list[dict[str, Any]]:
        """The Jobs in the builds namespace."""
        assert self.shop is not None
        return list(self.shop.space.admin.request("GET", self.shop.space.path("jobs"))[0]["items"])


def _fill(git: GitServer) -> None:
    app = git.repository("team/app.git")
    git.require_login("team/app.git", *GIT_LOGIN)
    for branch, step in BRANCHES.items():
        app.commit({"Dockerfile": DOCKERFILE + step, "busybox": BUSYBOX.read_bytes()}, branch=branch)


def _configuration(folder: Path, authority_pem: str, registry: RegistryServer) -> dict[str, dict[str, Any]]:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ca.pem").write_text(authority_pem)
    return {
        "git": {"ca_bundle": str(folder / "ca.pem"), "allow_private_networks": True},
        "registry": {
            "address": registry.address,
            "repository": "ci",
            "username": registry.username,
            "password": registry.password,
        },
    }


@contextmanager
def local_stage(folder: Path) -> Iterator[Stage]:
    """The embedded default: SQLite, builds on this machine."""
    authority = Authority()
    with git_server(folder / "git", authority=authority) as git, run_registry(authority=authority, login=PUSH_LOGIN) as registry:
        _fill(git)
        configuration = _configuration(folder / "portal", authority.pem, registry)
        (folder / "portal" / "ca").mkdir()
        (folder / "portal" / "ca" / "test-ca.crt").write_text(authority.pem)
        with portal(folder / "portal", build={"folder": str(folder / "portal" / "work")}, **configuration) as running:
            yield Stage("local", running, git, registry, "127.0.0.1")


@contextmanager
def cluster_stage(folder: Path, builder: str, mariadb: MariaDB | None = None, **sections: Any) -> Iterator[Stage]:
    """The cluster, with the Role that the portal is deployed with; with SQLite, or MariaDB where one is given."""
    with workshop(folder, f"ci-portal-{builder}") as shop:
        _fill(shop.git)
        configuration = _configuration(folder / "portal", shop.git.ca_pem, shop.registry)
        configuration["build"] = {"backend": "kubernetes", "builder": builder, "builder_image": cluster.BUILDER_IMAGE}
        configuration["kubernetes"] = {"kubeconfig": shop.space.kubeconfig, "namespace": shop.space.name}
        for section, keys in sections.items():
            configuration[section] = {**configuration.get(section, {}), **keys}
        if mariadb:
            server = {"host": mariadb.host, "port": mariadb.port, "user": mariadb.user, "password": mariadb.password}
            configuration["database"] = {"engine": "mysql", "name": DATABASE, **server}
        with portal(folder / "portal", **configuration) as running:
            yield Stage(builder, running, shop.git, shop.registry, cluster.HOST, shop, mariadb)


def events_of(url: str, last_event_id: str = "") -> list[tuple[str, str, str]]:
    """Read a live stream to its end: (event, id, data) of each."""
    request = urllib.request.Request(url, headers={"Accept": "text/event-stream"})
    if last_event_id:
        request.add_header("Last-Event-ID", last_event_id)
    found, fields = [], {"event": "message", "id": "", "data": ""}
    with urllib.request.urlopen(request, timeout=60) as stream:
        for raw in stream:
            line = raw.decode().rstrip("\n")
            if not line:
                if fields["data"]:
                    found.append((fields["event"], fields["id"], fields["data"]))
                fields = {"event": "message", "id": fields["id"], "data": ""}
            elif not line.startswith(":"):
                name, _, value = line.partition(": ")
                fields[name] = value
    return found
