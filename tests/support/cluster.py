"""A namespace of the tests' own on a real cluster, an account with the portal's Role and no more, and builds run with it.

KUBECONFIG names the cluster and an account that may make namespaces; its nodes must reach this machine at TEST_HOST and
have TEST_BUILDER_IMAGE (git, buildah, BuildKit; uid 1000).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import threading
import time
import uuid
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from runners.backends.base import Piece, RunState, StreamBroken, Unreachable
from runners.backends.kubernetes import KubernetesBackend
from runners.backends.kubernetes_api import Api, ApiError
from runners.build import BuildSecrets, BuildSpec, JobSettings
from tests.support.git_server import BareRepository, Content, GitServer, git_server
from tests.support.pki import Authority
from tests.support.registry_server import RegistryServer, run_registry

HOST = os.environ.get("TEST_HOST", "10.244.0.1")
BUILDER_IMAGE = os.environ.get("TEST_BUILDER_IMAGE", "docker.io/localcluster/builder:1")
ROLE = Path(__file__).parents[2] / "deploy" / "base" / "role.yaml"
GIT_LOGIN = ("reader", "git-t0ken-äö %:/@")
PUSH_LOGIN = ("pusher", "push-s3cret 密码 &%:/")
BUSYBOX = Path("/bin/busybox")

#: An image without a base image: a static busybox and RUN steps that use it.
DOCKERFILE = """FROM scratch
COPY --chmod=755 busybox /bin/busybox
SHELL ["/bin/busybox", "sh", "-c"]
"""


@dataclass
class Namespace:
    """A namespace with the portal's account in it; `kubeconfig` is that account's, `admin` may do everything."""

    name: str
    admin: Api
    folder: Path
    kubeconfig: str = ""

    def path(self, kind: str) -> str:
        """Of a collection: jobs, pods, secrets, …"""
        group = {"jobs": "/apis/batch/v1", "roles": _RBAC, "rolebindings": _RBAC}.get(kind, "/api/v1")
        return f"{group}/namespaces/{self.name}/{kind}"

    def create(self, kind: str, body: dict[str, Any]) -> dict[str, Any]:
        """Create an object as the admin."""
        return self.admin.request("POST", self.path(kind), body)[0]

    def get(self, kind: str, name: str) -> dict[str, Any] | None:
        """An object as the admin sees it; None where there is none."""
        try:
            return self.admin.request("GET", f"{self.path(kind)}/{name}")[0]
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def delete(self, kind: str, name: str, **options: Any) -> None:
        """Delete an object as the admin."""
        self.admin.request("DELETE", f"{self.path(kind)}/{name}", {"propagationPolicy": "Background", **options})

    def pods(self, spec: BuildSpec) -> list[dict[str, Any]]:
        """The run's pods."""
        query = {"labelSelector": f"ci-portal/run-uid={spec.run_uid}"}
        return self.admin.request("GET", self.path("pods"), query=query)[0]["items"]

    def account(self, name: str, rules: list[dict[str, Any]]) -> str:
        """Make a service account with these rules; returns the path of its kubeconfig."""
        self.create("serviceaccounts", {"metadata": {"name": name}})
        self.create("roles", {"metadata": {"name": name}, "rules": rules})
        subject = {"kind": "ServiceAccount", "name": name, "namespace": self.name}
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}
        self.create("rolebindings", {"metadata": {"name": name}, "roleRef": role, "subjects": [subject]})
        token = self.admin.request("POST", f"{self.path('serviceaccounts')}/{name}/token", {"spec": {"expirationSeconds": 7200}})[0]
        config = yaml.safe_load(Path(os.environ["KUBECONFIG"]).read_text())
        config["users"] = [{"name": user["name"], "user": {"token": token["status"]["token"]}} for user in config["users"]]
        path = self.folder / f"{name}.kubeconfig"
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump(config))
        return str(path)


_RBAC = "/apis/rbac.authorization.k8s.io/v1"


def portal_rules() -> list[dict[str, Any]]:
    """The rules of the Role that the portal is deployed with."""
    return next(part["rules"] for part in yaml.safe_load_all(ROLE.read_text()) if part["kind"] == "Role")


def keep_bridge_address() -> None:
    """Have the bridge over which pods reach this machine keep its hardware address, where there is one and we may.

    By itself a Linux bridge takes on the lowest address of what is plugged in, so another one as pods come and go; whoever knows
    the old one reaches nothing for up to a minute ("i/o timeout" in clones and pushes).
    """
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return
    found = subprocess.run(["ip", "-json", "addr", "show", "to", HOST], capture_output=True).stdout or b"[]"
    for device in filter(None, json.loads(found)):
        known = Path("/sys/class/net", device["ifname"])
        chosen = (known / "addr_assign_type").read_text().strip() == "3"  # NET_ADDR_SET: by somebody, not by the kernel
        chosen &= (known / "address").read_text().strip() != "00:00:00:00:00:00"
        if (known / "bridge").exists() and not chosen:
            # Not the one that it has now: without anything plugged in that is 00:00:00:00:00:00.
            address = "02:00:" + ":".join(f"{int(part):02x}" for part in HOST.split("."))
            subprocess.run(["ip", "link", "set", device["ifname"], "address", address], check=True)


@contextmanager
def namespace(folder: Path, prefix: str, labels: dict[str, str] | None = None) -> Iterator[Namespace]:
    """A new namespace, labelled as the builds' must be, with the portal's account; deleted at the end."""
    if not os.environ.get("KUBECONFIG"):
        pytest.fail("KUBECONFIG must name a cluster whose account may make namespaces")
    keep_bridge_address()
    admin = Api(os.environ["KUBECONFIG"])
    name = f"{prefix}-{uuid.uuid4().hex[:8]}"
    labels = {"pod-security.kubernetes.io/enforce": "privileged"} | (labels or {})
    admin.request("POST", "/api/v1/namespaces", {"metadata": {"name": name, "labels": labels}})
    made = Namespace(name, admin, folder)
    try:
        made.kubeconfig = made.account("portal", portal_rules())
        yield made
    finally:
        admin.request("DELETE", f"/api/v1/namespaces/{name}", {})
        admin.close()


@dataclass
class Workshop:
    """A namespace, a git server and a registry that its pods reach, and builds of them by the portal's backend."""

    space: Namespace
    git: GitServer
    registry: RegistryServer
    backend: KubernetesBackend
    settings: JobSettings
    made: dict[str, BuildSpec] = field(default_factory=dict)

    def commit(self, files: dict[str, Content]) -> tuple[str, str]:
        """A repository of its own with one commit, readable with GIT_LOGIN; returns its URL and the commit's id."""
        name = f"app-{uuid.uuid4().hex[:8]}.git"
        commit = self.repository(name).commit({"busybox": BUSYBOX.read_bytes(), **files})
        return self.git.url(name, HOST), commit

    def repository(self, name: str) -> BareRepository:
        """An empty repository that GIT_LOGIN may read."""
        self.git.require_login(name, *GIT_LOGIN)
        return self.git.repository(name)

    def spec(self, files: dict[str, Content], **changes: Any) -> BuildSpec:
        """A build of these files beside busybox, pushed to the registry, trusting its authority."""
        url, commit = self.commit(files)
        uid = uuid.uuid4().hex
        spec = BuildSpec(
            run_id=7,
            run_uid=uid,
            event_id=3,
            name=f"run-{uid[:12]}",
            repo_name="app",
            repo_url=url,
            ref="refs/heads/main",
            commit=commit,
            dockerfile="Dockerfile",
            build_path=".",
            registry=self.registry.address,
            image_repo="team",
            image_name=f"app-{uid[:8]}",
            image_tag="v1",
            registry_user=PUSH_LOGIN[0],
            ca_secret="test-ca",
            timeout_seconds=180,
        )
        return replace(spec, **changes)

    def build(self, spec: BuildSpec, secrets: BuildSecrets | None = None) -> Built:
        """Launch, and follow to the end."""
        self.backend.launch(spec, secrets or SECRETS)
        return follow_to_end(self.backend, spec)

    def digest(self, spec: BuildSpec) -> str:
        """What the registry serves for the image."""
        kinds = "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"
        path = f"/v2/{spec.image_repo}/{spec.image_name}/manifests/{spec.image_tag}"
        return self.registry.request("HEAD", path, headers={"Accept": kinds}).headers.get("Docker-Content-Digest", "")


SECRETS = BuildSecrets(
    git_username=GIT_LOGIN[0], git_password=GIT_LOGIN[1], registry_username=PUSH_LOGIN[0], registry_password=PUSH_LOGIN[1]
)


@dataclass
class Built:
    """How a run ended, and the pieces that each container printed."""

    state: RunState
    pieces: dict[str, list[Piece]]

    def printed(self, container: str) -> bytes:
        """All of a container's output."""
        return b"".join(piece.data for piece in self.pieces.get(container, []))

    def report(self, container: str) -> dict[str, Any]:
        """What the container reported at its end."""
        return next(c.report for c in self.state.containers if c.name == container)


def wait_until(backend: KubernetesBackend, spec: BuildSpec, what: Callable[[RunState], bool], seconds: float = 60) -> RunState:
    """Look at the run whenever it changed until it is as wanted."""
    deadline = time.monotonic() + seconds
    while True:
        state = backend.state(spec)
        if what(state):
            return state
        assert time.monotonic() < deadline, f"still {state}"
        backend.changes(1)


def follow_to_end(backend: KubernetesBackend, spec: BuildSpec, seconds: float = 170) -> Built:
    """What the watcher does, in its simplest form: read each container in turn, then see how the run ended."""
    pieces: dict[str, list[Piece]] = {}
    for container in backend.containers(spec):

        def startable(state: RunState, container: str = container) -> bool:
            return state.finished or state.fatal or any(c.name == container and c.started_at for c in state.containers)

        state = wait_until(backend, spec, startable, seconds)
        if any(c.name == container and c.started_at for c in state.containers):
            pieces[container] = read_all(backend, spec, container)
    return Built(wait_until(backend, spec, lambda state: state.finished or state.fatal), pieces)


def read_all(backend: KubernetesBackend, spec: BuildSpec, container: str, cursor: str = "") -> list[Piece]:
    """Read a container's output from a cursor to its end, going on where it is cut."""
    pieces: list[Piece] = []
    for _ in range(20):
        try:
            for piece in backend.stream(spec, container, cursor):
                pieces.append(piece)
                cursor = piece.cursor
        except (StreamBroken, Unreachable):
            time.sleep(0.3)
        else:
            return pieces
    raise AssertionError(f"the output of {container} can't be read")


@contextmanager
def workshop(folder: Path, prefix: str = "ci-portal-test") -> Iterator[Workshop]:
    """A namespace with `test-ca`, a git server and a TLS registry with a login that this authority signed, and a backend."""
    authority = Authority()
    with (
        namespace(folder, prefix) as space,
        git_server(folder / "git-server", "0.0.0.0", authority) as git,
        run_registry(HOST, authority=authority, login=PUSH_LOGIN) as registry,
    ):
        pem = b64encode(authority.pem.encode()).decode()
        space.create("secrets", {"metadata": {"name": "test-ca"}, "data": {"ca.crt": pem}})
        settings = JobSettings(space.name, BUILDER_IMAGE, BUILDER_IMAGE)
        backend = KubernetesBackend(settings, space.kubeconfig)
        try:
            yield Workshop(space, git, registry, backend, settings)
        finally:
            backend.close()


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    """One workshop for all tests of the session."""
    with workshop(tmp_path_factory.mktemp("cluster")) as made:
        yield made


def cksum(data: bytes) -> list[int]:
    """[checksum, bytes] as the system's own cksum has it."""
    said = subprocess.run(["cksum"], input=data, capture_output=True, check=True).stdout
    return [int(number) for number in said.split()]


def pretty(manifests: Any) -> str:
    """JSON as golden files have it."""
    return json.dumps(manifests, indent=1, ensure_ascii=False) + "\n"


class Cutter:
    """A TCP proxy in front of the API server that can cut every connection, as a restart or a network does."""

    def __init__(self, kubeconfig: str, folder: Path) -> None:
        text = Path(kubeconfig).read_text()
        found = re.search(r"server: [\"']?https://([\d.]+):(\d+)", text)
        assert found
        self.target = (found[1], int(found[2]))
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.pairs: list[tuple[socket.socket, socket.socket]] = []
        self.refusing = False
        self.kubeconfig = str(folder / f"cutter-{uuid.uuid4().hex[:8]}.kubeconfig")
        own = f"https://127.0.0.1:{self.listener.getsockname()[1]}"
        Path(self.kubeconfig).write_text(re.sub(r"https://[\d.]+:\d+", own, text))
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> int:
        """Cut what is open now; returns how many connections that were."""
        pairs, self.pairs = self.pairs, []
        for pair in pairs:
            for side in pair:
                with suppress(OSError):
                    side.shutdown(socket.SHUT_RDWR)
        return len(pairs)

    def close(self) -> None:
        """Serve no more."""
        self.listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            if self.refusing:
                client.close()
                continue
            server = socket.create_connection(self.target)
            self.pairs.append((client, server))
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self._relay, args=(source, sink), daemon=True).start()

    def _relay(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(1 << 16):
                sink.sendall(data)
        except OSError:
            pass
        for side in (source, sink):
            with suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)
