"""`POST /check/` of a registered repository, beside one `git ls-remote` and the same requests to the API server."""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from bench.measure import Result, Target, alternate, cpu_seconds, paired
from bench.place import BenchPortal, Place, Plan
from runners.backends.kubernetes_api import MERGE_PATCH, Api
from tests.support.cluster import GIT_LOGIN, HOST, Namespace

#: No node has this label: pods stay pending, so that builds do not disturb what is measured.
NOWHERE = {"node_selector": {"ci-portal-bench": "nowhere"}}
SYSTEM_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


def run(place: Place, plan: Plan) -> list[Result]:
    """The row."""
    times, warm = plan.repeats(40), 1 if plan.quick else 3
    with place.portal(kubernetes=NOWHERE) as site:
        site.wait_for_watcher()
        names = register(site, place, times + warm)
        first = site.checked({"repo": next(names)})
        floor = Floor(place, manifests_of(site, first["job"]["id"]))
        server, used = site.server(), []

        def check() -> None:
            before = cpu_seconds(server)
            site.checked({"repo": next(names)})
            used.append(cpu_seconds(server) - before)

        ours, least, git_only = alternate(times, check, floor.once, floor.ls_remote, warm=warm)
    own = paired(ours, least)
    return [
        Result(
            "check",
            "POST /check/",
            ours,
            least,
            [Target("ratio ≤ 1.15", ours.median / least.median, 1.15), Target("of our own ≤ 15 ms", own.median, 15)],
            {
                "ls-remote alone": f"{git_only.median:.1f} ms",
                "API requests": f"{least.median - git_only.median:.1f} ms",
                "server's CPU": f"{sum(used) / len(used) * 1000:.0f} ms/check",
            },
        )
    ]


def register(site: BenchPortal, place: Place, repositories: int) -> Iterator[str]:
    """Register the same remote under many names: each is checked once, as nobody checks a repository forty times a minute."""
    given = place.check()
    url = urlsplit(given["repo"])
    user, token = (quote(given[name], safe="") for name in ("user", "token"))
    names = [f"app-{number}" for number in range(repositories + 1)]
    for name in names:
        body = {"repo_name": name, "repo": url._replace(netloc=f"{user}:{token}@{url.netloc}").geturl(), "branch": "main"}
        answer = site.post("/repo/", body)
        assert answer.status == 201, answer.body
    return iter(names)


def manifests_of(site: BenchPortal, run_id: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Secret and Job of a run as GET /job/{id}/manifest/ shows them to people who apply them by hand."""
    secret, job = site.get(f"/job/{run_id}/manifest/").json["items"]
    return secret, job


def renamed(manifest: dict[str, Any], name: str) -> dict[str, Any]:
    """A copy under another name; all that names the Secret follows. The portal does not know it for its own."""
    labels = {"app.kubernetes.io/name": "ci-portal-bench"}
    copy = {**manifest, "metadata": {"name": name, "labels": labels}}
    if manifest["kind"] == "Job":
        template = {
            **manifest["spec"]["template"],
            "metadata": {**manifest["spec"]["template"].get("metadata", {}), "labels": labels},
        }
        pod = template["spec"]
        old = manifest["metadata"]["name"]
        volumes = [_renamed_volume(volume, old, name) for volume in pod["volumes"]]
        copy["spec"] = {**manifest["spec"], "template": {**template, "spec": {**pod, "volumes": volumes}}}
    return copy


def _renamed_volume(volume: dict[str, Any], old: str, name: str) -> dict[str, Any]:
    if volume.get("secret", {}).get("secretName") != old:
        return volume
    return {**volume, "secret": {**volume["secret"], "secretName": name}}


class Floor:
    """The least: a git process with the same login and certificates, and the three requests on a connection kept open."""

    def __init__(self, place: Place, manifests: tuple[dict[str, Any], dict[str, Any]]) -> None:
        self.secret, self.job = manifests
        self.space: Namespace = place.shop.space
        self.api = Api(self.space.kubeconfig)
        url = urlsplit(place.shop.git.url("team/app.git", HOST))
        user, token = (quote(part, safe="") for part in GIT_LOGIN)
        trusted, empty = place.folder / "trusted.pem", place.folder / "empty"
        trusted.write_bytes(SYSTEM_CERTIFICATES.read_bytes() + place.shop.git.ca_pem.encode())
        empty.mkdir(exist_ok=True)
        self.url = url._replace(netloc=f"{user}:{token}@{url.netloc}").geturl()
        kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        self.environment = {**kept, "GIT_SSL_CAINFO": str(trusted), "GIT_SSL_CAPATH": str(empty), "GIT_TERMINAL_PROMPT": "0"}

    def ls_remote(self) -> None:
        """Ask for one branch."""
        command = ["git", "-c", "credential.helper=", "ls-remote", "--heads", "--", self.url, "refs/heads/main"]
        subprocess.run(command, env=self.environment, capture_output=True, check=True)

    def launch(self) -> None:
        """Suspended Job, its Secret, and the patch that lets it go."""
        name = f"floor-{uuid.uuid4().hex[:12]}"
        job = renamed(self.job, name)
        made = self.api.request("POST", self.space.path("jobs"), {**job, "spec": {**job["spec"], "suspend": True}})[0]
        secret = renamed(self.secret, name)
        owner = {"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": made["metadata"]["uid"]}
        secret["metadata"]["ownerReferences"] = [owner]
        self.api.request("POST", self.space.path("secrets"), secret)
        patch = {"spec": {"suspend": False}}
        self.api.request("PATCH", f"{self.space.path('jobs')}/{name}", patch, content_type=MERGE_PATCH)

    def once(self) -> None:
        """All of it."""
        self.ls_remote()
        self.launch()
