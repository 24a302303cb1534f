"""Break the parts of a cluster that runs on this machine, and put them back: for tests/faults.

TEST_CLUSTER_CONTROL names the script that started the cluster of KUBECONFIG: `start` brings back what is missing, `kill COMPONENT`
ends a part with SIGKILL, `simulate NODES` adds nodes that only pretend to run pods. Ports, sockets and folders are read from the
parts' own command lines, so that nothing depends on where that script keeps them.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from runners.backends.kubernetes_api import MERGE_PATCH, Api, ApiError
from tests.support.cluster import BUILDER_IMAGE

VARIABLE = "TEST_CLUSTER_CONTROL"
PARTS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "etcd", "containerd")


class ClusterControl:
    """The parts of one cluster. Whatever a test does to them is undone by `heal`."""

    def __init__(self, script: str, kubeconfig: str, folder: Path) -> None:
        self.script, self.folder = script, folder
        self.admin = Api(kubeconfig)
        self.kubeconfig = kubeconfig
        self.port = _server_port(kubeconfig)
        self.cut_off = False  # whether the API server was away since the last healing
        self.commands = {part: self._command(self._find(part)) for part in PARTS}  # while all of them are there
        self.node = self.admin.request("GET", "/api/v1/nodes", query={"labelSelector": "localcluster!=simulated"})[0]["items"][0]
        self.name: str = self.node["metadata"]["name"]

    # Parts

    def kill(self, part: str) -> None:
        """SIGKILL; it stays away until `start`."""
        self._run("kill", part)
        self.cut_off |= part in ("kube-apiserver", "etcd")

    def start(self) -> None:
        """Bring back whatever is missing, and wait until it answers."""
        self._run("start")

    @contextmanager
    def without(self, part: str) -> Iterator[None]:
        """The part is killed, and brought back at the end of the block."""
        self.kill(part)
        try:
            yield
        finally:
            self.start()

    @contextmanager
    def paused(self, part: str) -> Iterator[None]:
        """The part is there but does nothing (SIGSTOP)."""
        pid = self._find(part)
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def compact(self) -> int:
        """Make etcd forget all history up to now; returns the revision."""
        latest = self._etcd("/v3/kv/range", {"key": "AA=="})["header"]["revision"]
        try:
            self._etcd("/v3/kv/compaction", {"revision": latest, "physical": True})
        except urllib.error.HTTPError as error:
            if b"has been compacted" not in (said := error.read()):
                raise AssertionError(said.decode(errors="replace")) from None
        return int(latest)

    @contextmanager
    def kubelet_with(self, **settings: Any) -> Iterator[None]:
        """The kubelet runs with these settings of KubeletConfiguration instead of its own."""
        command = list(self.commands["kubelet"])
        at = command.index("--config") + 1
        changed = self.folder / f"kubelet-{uuid.uuid4().hex[:8]}.yaml"
        changed.write_text(yaml.safe_dump({**yaml.safe_load(Path(command[at]).read_text()), **settings}))
        command[at] = str(changed)
        self.kill("kubelet")
        since = datetime.now(UTC)
        with (self.folder / "kubelet.log").open("ab") as log:
            kubelet = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)
        try:
            self.wait_for_node(since)
            yield
        finally:
            kubelet.kill()
            kubelet.wait()
            self.start()

    @contextmanager
    def full_disk(self) -> Iterator[Path]:
        """The kubelet evicts once its disk has 4 GiB less room than now: let the file of this path take 5."""
        folder = Path(_option(self.commands["kubelet"], "--root-dir"))
        threshold = {"nodefs.available": str(shutil.disk_usage(folder).free - (4 << 30))}
        file = folder / f"ci-portal-tests-{uuid.uuid4().hex[:8]}"
        try:
            with self.kubelet_with(evictionHard=threshold, evictionPressureTransitionPeriod="5s"):
                yield file
        finally:
            file.unlink(missing_ok=True)

    def simulate(self, nodes: int) -> None:
        """Add nodes that only pretend to run pods, labelled and tainted `localcluster: simulated`."""
        self._run("simulate", str(nodes))

    # The node

    def patch_node(self, body: dict[str, Any]) -> None:
        """Change the node's object (taints, unschedulable, …)."""
        self.admin.request("PATCH", f"/api/v1/nodes/{self.name}", body, content_type=MERGE_PATCH)

    def wait_for_node(self, since: datetime, seconds: float = 60) -> None:
        """Wait until the kubelet has been heard of after `since`, and the node is Ready."""
        lease = f"/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{self.name}"

        def ready() -> bool:
            renewed = datetime.fromisoformat(self.admin.request("GET", lease)[0]["spec"]["renewTime"])
            node = self.admin.request("GET", f"/api/v1/nodes/{self.name}")[0]
            states = {condition["type"]: condition["status"] for condition in node["status"]["conditions"]}
            return renewed > since and states["Ready"] == "True" and not node["spec"].get("taints")

        wait_for(ready, f"node {self.name} to be ready", seconds)

    def heal(self) -> None:
        """Put everything back, and see that a pod runs from its Job to its end."""
        for part in PARTS:
            with suppress(ProcessLookupError, LookupError):
                os.kill(self._find(part), signal.SIGCONT)
        since = datetime.now(UTC)
        if self.cut_off:  # these would ask a new API server only after half a minute
            self.kill("kube-scheduler")
            self.kill("kube-controller-manager")
            self.cut_off = False
        self.start()
        self.patch_node({"spec": {"taints": None, "unschedulable": None}})
        self.wait_for_node(since)
        self._probe()

    def _probe(self) -> None:
        name = f"probe-{uuid.uuid4().hex[:8]}"
        container = {"name": "probe", "image": BUILDER_IMAGE, "command": ["/bin/true"]}
        pod = {"restartPolicy": "Never", "containers": [container], "automountServiceAccountToken": False}
        jobs = "/apis/batch/v1/namespaces/default/jobs"
        self.admin.request("POST", jobs, {"metadata": {"name": name}, "spec": {"template": {"spec": pod}}})
        wait_for(lambda: self.admin.request("GET", f"{jobs}/{name}")[0]["status"].get("succeeded"), "a pod to run and end", 90)
        self.admin.request("DELETE", f"{jobs}/{name}", {"propagationPolicy": "Background"})

    # Processes

    def _run(self, *arguments: str) -> None:
        # Files, not pipes: what `start` leaves running would hold a pipe open.
        with (self.folder / "control.log").open("ab") as log:
            done = subprocess.run([self.script, *arguments], stdout=log, stderr=log, stdin=subprocess.DEVNULL, timeout=180)
        assert done.returncode == 0, (self.folder / "control.log").read_text(errors="replace")[-3000:]

    def _etcd(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        url = _option(self.commands["kube-apiserver"], "--etcd-servers").partition(",")[0]
        with urllib.request.urlopen(url + path, json.dumps(body).encode(), timeout=20) as reply:
            return dict(json.load(reply))

    def _find(self, part: str) -> int:
        """The part's pid. Raises LookupError where it does not run."""
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError, LookupError, ValueError):
                command = self._command(int(folder.name))
                if Path(command[0]).name == part and self._is_ours(part, command):
                    return int(folder.name)
        raise LookupError(f"no {part} of the cluster of {self.kubeconfig} runs on this machine")

    def _is_ours(self, part: str, command: list[str]) -> bool:
        if part == "kube-apiserver":
            return _option(command, "--secure-port") == str(self.port)
        if part == "etcd":
            return _option(command, "--listen-client-urls") == _option(self.commands_of("kube-apiserver"), "--etcd-servers")
        if part == "containerd":
            kubelet = yaml.safe_load(Path(_option(self.commands_of("kubelet"), "--config")).read_text())
            return kubelet["containerRuntimeEndpoint"].removeprefix("unix://") in Path(_option(command, "--config")).read_text()
        return _server_port(_option(command, "--kubeconfig")) == self.port

    def commands_of(self, part: str) -> list[str]:
        """The part's command line, as it was found first."""
        known: dict[str, list[str]] = self.__dict__.get("commands", {})
        return known.get(part) or self._command(self._find(part))

    @staticmethod
    def _command(pid: int) -> list[str]:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")[:-1]


def wait_for(what: Callable[[], Any], name: str, seconds: float, pause: float = 0.2) -> Any:
    """Call until it returns something true, and return that; an API server that does not answer is asked again."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if found := what():
                return found
            last = "it did not come"
        except ApiError as error:
            last = str(error)
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s for {name}: {last}"
        time.sleep(pause)


def _option(command: list[str], name: str) -> str:
    return command[command.index(name) + 1]


def _server_port(kubeconfig: str) -> int:
    found = re.search(r"https://[\w.]+:(\d+)", Path(kubeconfig).read_text())
    assert found, f"{kubeconfig} names no server"
    return int(found[1])


@pytest.fixture(scope="session")
def cluster_control(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterControl]:
    """The parts of the cluster of KUBECONFIG."""
    script, kubeconfig = os.environ.get(VARIABLE), os.environ.get("KUBECONFIG")
    if not script or not kubeconfig:
        pytest.fail(f"{VARIABLE} must name the script that starts and kills the parts of the cluster of KUBECONFIG")
    made = ClusterControl(script, kubeconfig, tmp_path_factory.mktemp("control"))
    try:
        yield made
    finally:
        made.heal()


@pytest.fixture
def control(cluster_control: ClusterControl) -> Iterator[ClusterControl]:
    """The parts of the cluster, whole again after each test."""
    yield cluster_control
    cluster_control.heal()
