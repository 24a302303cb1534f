"""The manifests of deploy/, applied to a real cluster under names of their own, and builds that run under what they say."""

from __future__ import annotations

import copy
import os
import secrets
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import kubernetes
import pytest
import yaml
from kubernetes.client.exceptions import ApiException
from kubernetes.dynamic import DynamicClient
from kubernetes.dynamic.exceptions import NotFoundError

from runners.backends import manifest
from runners.backends.base import Refused
from runners.backends.kubernetes import KubernetesBackend
from runners.build import BuildSpec, JobSettings
from tests.support.cluster import BUILDER_IMAGE, DOCKERFILE, SECRETS, Namespace, Workshop, follow_to_end, wait_until
from tests.support.deployed import BUILDS, DEPLOY, PORTAL, moved, objects, overlay
from tests.support.waiting import until

pytestmark = pytest.mark.needs_cluster

CHECK_IMAGE = os.environ.get("TEST_BUSYBOX_IMAGE", "docker.io/localcluster/pause:1")
CLUSTER_WIDE = ("ValidatingAdmissionPolicyBinding", "ValidatingAdmissionPolicy", "Namespace")


@dataclass
class Deployed:
    """What was applied, and the portal's account of it."""

    client: DynamicClient
    names: dict[str, str]
    space: Namespace  # of the builds

    def kind(self, kind: str, version: str = "v1") -> Any:
        return self.client.resources.get(api_version=version, kind=kind)

    def backend(self, **settings: Any) -> KubernetesBackend:
        """A portal's backend that runs as the deployed account."""
        chosen = replace(JobSettings(self.names[BUILDS], BUILDER_IMAGE, BUILDER_IMAGE), **settings)
        return KubernetesBackend(chosen, self.space.kubeconfig)

    def dry_run(self, item: dict[str, Any]) -> Any:
        """A server-side dry run that refuses unknown and repeated fields."""
        query = [("dryRun", "All"), ("fieldValidation", "Strict")]
        resource = self.kind(item["kind"], item["apiVersion"])
        return resource.create(body=item, namespace=item["metadata"].get("namespace"), query_params=query)


def kubeconfig_of(client: DynamicClient, names: dict[str, str], folder: Path) -> str:
    """A kubeconfig with a token of the deployed service account."""
    path = f"/api/v1/namespaces/{names[PORTAL]}/serviceaccounts/ci-portal/token"
    token = client.request("POST", path, body={"spec": {"expirationSeconds": 7200}}).status.token
    config = yaml.safe_load(Path(os.environ["KUBECONFIG"]).read_text())
    config["users"] = [{"name": user["name"], "user": {"token": token}} for user in config["users"]]
    kubeconfig = folder / "deployed.kubeconfig"
    kubeconfig.touch(mode=0o600)
    kubeconfig.write_text(yaml.safe_dump(config))
    return str(kubeconfig)


@pytest.fixture(scope="module")
def deployed(shop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """deploy/base, applied; the authority that the tests' servers have is in the builds' namespace as `test-ca`."""
    suffix = secrets.token_hex(4)
    names = {name: f"{name}-{suffix}" for name in (PORTAL, BUILDS)}
    with kubernetes.config.new_client_from_config() as plain:
        client = DynamicClient(plain)
        try:
            for item in objects("base"):
                item = moved(item, names)
                resource = client.resources.get(api_version=item["apiVersion"], kind=item["kind"])
                query = [("fieldValidation", "Strict")]
                resource.create(body=item, namespace=item["metadata"].get("namespace"), query_params=query)
            folder = tmp_path_factory.mktemp("deployed")
            space = Namespace(names[BUILDS], shop.space.admin, folder, kubeconfig_of(client, names, folder))
            space.create("secrets", {"metadata": {"name": "test-ca"}, "stringData": {"ca.crt": shop.git.ca_pem}})
            made = Deployed(client, names, space)
            until(lambda: refusal(made, changed(privileged)), 60)  # a new policy is heeded after a moment
            yield made
        finally:
            for kind in CLUSTER_WIDE:
                version = "v1" if kind == "Namespace" else "admissionregistration.k8s.io/v1"
                for name in names.values() if kind == "Namespace" else [names[BUILDS]]:
                    with suppress(NotFoundError):
                        client.resources.get(api_version=version, kind=kind).delete(name=name)


# What the API server takes


@pytest.mark.parametrize("item", objects("base"), ids=lambda item: f"{item['kind']}-{item['metadata']['name']}")
def test_the_server_keeps_each_object_as_it_was_applied(deployed: Deployed, item: dict[str, Any]):
    item = moved(item, deployed.names)
    kept = deployed.kind(item["kind"], item["apiVersion"]).get(
        name=item["metadata"]["name"], namespace=item["metadata"].get("namespace")
    )
    if item["kind"] in ("NetworkPolicy", "PodDisruptionBudget", "Role"):  # nothing has a default there
        wanted = [{key: value for key, value in item.get("spec", {}).items() if value != []}, item.get("rules")]
        assert [kept.to_dict().get("spec", {}), kept.to_dict().get("rules")] == wanted


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="there is no kubectl")
@pytest.mark.parametrize("options", [["--dry-run=server"], []], ids=["dry run", "for real"])
def test_kubectl_applies_the_folder(deployed: Deployed, tmp_path: Path, options: list[str]):
    base = os.path.relpath(DEPLOY / "base", tmp_path.resolve())
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(overlay(deployed.names, base)))
    command = ["kubectl", "apply", "--server-side", "--force-conflicts", "--validate=strict", "-k", str(tmp_path), *options]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    assert len(ran.stdout.splitlines()) == len(objects("base"))
    assert not [line for line in ran.stdout.splitlines() if f"/{PORTAL} " in line and "namespace" in line]


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="there is no kubectl")
def test_the_example_renders_with_image_quota_and_configuration():
    ran = subprocess.run(["kubectl", "kustomize", str(DEPLOY / "example")], capture_output=True, text=True, check=True, timeout=60)
    items = list(yaml.safe_load_all(ran.stdout))
    deployment = next(item for item in items if item["kind"] == "Deployment")["spec"]["template"]["spec"]
    assert {part["image"] for part in deployment["initContainers"] + deployment["containers"]} == {
        "registry.example.com/tools/ci-portal:1.0.0"
    }
    made = next(item for item in items if item["kind"] == "ConfigMap")["metadata"]["name"]
    assert [volume["configMap"]["name"] for volume in deployment["volumes"] if "configMap" in volume] == [made]
    assert {item["metadata"]["name"] for item in items if item["kind"] == "NetworkPolicy"} == {"builds", "portal", "private-hosts"}


def test_the_server_takes_the_policy_for_private_hosts(deployed: Deployed):
    policy = yaml.safe_load((DEPLOY / "example" / "private-hosts.yaml").read_text())
    assert deployed.dry_run(moved(policy, deployed.names)).metadata.name == "private-hosts"


def test_the_server_would_refuse_a_misspelt_field(deployed: Deployed):
    claim = moved(next(item for item in objects("base") if item["kind"] == "PersistentVolumeClaim"), deployed.names)
    claim["metadata"]["name"] = "another"
    claim["spec"]["acessModes"] = ["ReadWriteOnce"]
    with pytest.raises(ApiException) as refused:
        deployed.dry_run(claim)
    assert "unknown field" in refused.value.body


def test_the_portals_pod_passes_its_namespaces_pod_security(deployed: Deployed):
    deployment = moved(next(item for item in objects("base") if item["kind"] == "Deployment"), deployed.names)
    meta = {"name": "portal", "namespace": deployed.names[PORTAL]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": deployment["spec"]["template"]["spec"]}
    assert deployed.dry_run(pod).spec.securityContext.runAsNonRoot


def test_the_pod_security_of_the_portals_namespace_refuses_a_root_pod(deployed: Deployed):
    spec = {"automountServiceAccountToken": False, "containers": [{"name": "root", "image": "busybox"}]}
    meta = {"name": "root", "namespace": deployed.names[PORTAL]}
    with pytest.raises(ApiException) as refused:
        deployed.dry_run({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec})
    assert refused.value.status == 403
    assert "PodSecurity" in refused.value.body


# Which pods the builds' namespace admits

SPEC = BuildSpec(
    run_id=1,
    run_uid="0" * 32,
    event_id=1,
    name="run-admitted",
    repo_name="app",
    repo_url="https://git.example.org/team/app.git",
    ref="refs/heads/main",
    commit="1" * 40,
    dockerfile="Dockerfile",
    build_path=".",
    registry="registry.example.org",
    image_repo="team",
    image_name="app",
    image_tag="v1",
    ca_secret="company-ca",
)


def pod(spec: BuildSpec = SPEC, namespace: str = "") -> dict[str, Any]:
    """The pod that the Job's controller makes of a build's Job."""
    job = manifest.build_job(spec, JobSettings(namespace, "builder:1", "clone:1"))
    template = copy.deepcopy(job["spec"]["template"])
    template["metadata"]["labels"]["batch.kubernetes.io/job-name"] = spec.name
    return {"apiVersion": "v1", "kind": "Pod", **template, "metadata": {**template["metadata"], "name": f"{spec.name}-abcde"}}


def changed(change: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    made = pod()
    change(made)
    return made


def refusal(deployed: Deployed, item: dict[str, Any]) -> str:
    """What the API server says against the pod; "" where it takes it."""
    item = {**item, "metadata": {**item["metadata"], "namespace": deployed.names[BUILDS]}}
    try:
        deployed.dry_run(item)
    except ApiException as error:
        return f"{error.status} {error.body}"
    return ""


def container(made: dict[str, Any]) -> dict[str, Any]:
    return dict(made["spec"])["containers"][0]


def volume(made: dict[str, Any], **source: Any) -> None:
    made["spec"]["volumes"].append({"name": "more", **source})


def privileged(made: dict[str, Any]) -> None:
    container(made)["securityContext"] |= {"privileged": True}


@pytest.mark.parametrize("builder", ["buildkit", "buildah"])
def test_a_builds_pod_is_admitted(deployed: Deployed, builder: str):
    assert refusal(deployed, pod(replace(SPEC, builder=builder))) == ""


BAD_PODS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "the node's network": (lambda made: made["spec"].update(hostNetwork=True), "shares no network"),
    "the node's processes": (lambda made: made["spec"].update(hostPID=True), "shares no network"),
    "the node's IPC": (lambda made: made["spec"].update(hostIPC=True), "shares no network"),
    "a folder of the node": (lambda made: volume(made, hostPath={"path": "/"}), "emptyDir and secret only"),
    "a token": (
        lambda made: volume(made, projected={"sources": [{"serviceAccountToken": {"path": "token"}}]}),
        "emptyDir and secret only",
    ),
    "a service account": (lambda made: made["spec"].pop("automountServiceAccountToken"), "no service account token"),
    "another build's Secret": (lambda made: volume(made, secret={"secretName": "run-of-another"}), "ca.crt only"),
    "a key of another build's Secret": (
        lambda made: volume(
            made, secret={"secretName": "run-of-another", "items": [{"key": "git-password", "path": "git-password"}]}
        ),
        "ca.crt only",
    ),
    "a Secret by the label of another Job": (
        lambda made: made["metadata"]["labels"].pop("batch.kubernetes.io/job-name"),
        "ca.crt only",
    ),
    "a Secret in the environment": (
        lambda made: container(made)["env"].append(
            {"name": "X", "valueFrom": {"secretKeyRef": {"name": "run-of-another", "key": "git-password"}}}
        ),
        "nothing of a Secret",
    ),
    "a whole Secret in the environment": (
        lambda made: container(made).update(envFrom=[{"secretRef": {"name": "run-of-another"}}]),
        "nothing of a Secret",
    ),
    "root": (lambda made: made["spec"]["securityContext"].update(runAsUser=0), "as root"),
    "root in a container": (lambda made: container(made)["securityContext"].update(runAsUser=0), "as root"),
    "privileges": (privileged, "not privileged"),
    "a capability": (
        lambda made: container(made)["securityContext"]["capabilities"].update(add=["SYS_ADMIN"]),
        "no capabilities but",
    ),
    "the runtime's capabilities": (lambda made: container(made)["securityContext"].pop("capabilities"), "no capabilities but"),
    "privileges in an init container": (
        lambda made: made["spec"]["initContainers"][0]["securityContext"].update(privileged=True, allowPrivilegeEscalation=True),
        "not privileged",
    ),
    "a port of the node": (
        lambda made: container(made).update(ports=[{"containerPort": 80, "hostPort": 80}]),
        "no port of its node",
    ),
}


@pytest.mark.parametrize("what", BAD_PODS)
def test_a_pod_is_refused_that_wants(deployed: Deployed, what: str):
    change, said = BAD_PODS[what]
    assert said in refusal(deployed, changed(change))


def test_a_job_of_the_portals_own_account_gets_no_node(deployed: Deployed):
    """Whoever has the portal's token can create Jobs, but no pod comes of one that asks for more than builds do."""
    backend = deployed.backend()
    job = manifest.build_job(replace(SPEC, ca_secret=""), JobSettings(deployed.names[BUILDS], BUILDER_IMAGE, BUILDER_IMAGE))
    job["spec"]["suspend"] = False
    volume(job["spec"]["template"], hostPath={"path": "/"})
    spec = replace(SPEC, ca_secret="")
    backend.api.request("POST", deployed.space.path("jobs"), job)
    state = wait_until(backend, spec, lambda state: bool(state.problem), 60)
    assert deployed.space.pods(spec) == []
    backend.delete(spec)
    backend.close()
    assert state.problem.startswith("The cluster refuses the build's pod")
    assert "a build has volumes of the kinds emptyDir and secret only" in state.problem


# Builds under quota, limits and policies


@pytest.fixture(scope="module", params=["buildkit", "buildah"])
def built(request: pytest.FixtureRequest, deployed: Deployed, shop: Workshop) -> Iterator[tuple[BuildSpec, Any, dict[str, Any]]]:
    """A build by the deployed account: its description, how it ended, and its pod."""
    backend = deployed.backend()
    spec = shop.spec({"Dockerfile": DOCKERFILE + "RUN echo built under a quota\n"}, builder=request.param)
    backend.launch(spec, SECRETS)
    ended = follow_to_end(backend, spec)
    (made,) = deployed.space.pods(spec)
    yield spec, ended, made
    backend.delete(spec)
    backend.close()


def test_a_build_runs_as_deployed(built, shop: Workshop):
    spec, ended, _ = built
    assert (ended.state.problem, ended.state.finished) == ("", True)
    assert ended.state.containers[-1].report["digest"] == shop.digest(spec)


def test_its_containers_have_the_requests_and_limits_of_the_namespace(built):
    _, _, made = built
    (limits,) = next(item for item in objects("base") if item["kind"] == "LimitRange")["spec"]["limits"]
    for part in made["spec"]["initContainers"] + made["spec"]["containers"]:
        assert part["resources"] == {"requests": limits["defaultRequest"], "limits": limits["default"]}


def test_the_quota_counts_it(built, deployed: Deployed):
    used = deployed.space.get("resourcequotas", "builds")["status"]["used"]
    assert int(used["count/jobs.batch"]) >= 1


def test_a_build_that_asks_for_more_than_the_namespace_gives_is_told(deployed: Deployed, shop: Workshop):
    backend = deployed.backend(resources={"limits": {"memory": "32Gi"}})
    spec = shop.spec({"Dockerfile": DOCKERFILE})
    backend.launch(spec, SECRETS)
    state = wait_until(backend, spec, lambda state: bool(state.problem), 60)
    backend.delete(spec)
    backend.close()
    assert state.problem.startswith("The cluster refuses the build's pod: maximum memory usage per Container is 16Gi")


@pytest.fixture
def full(deployed: Deployed) -> Iterator[Callable[[dict[str, str]], None]]:
    """Change the quota for the test."""
    quotas = deployed.kind("ResourceQuota")
    before = quotas.get(name="builds", namespace=deployed.names[BUILDS]).to_dict()["spec"]["hard"]

    def change(hard: dict[str, str]) -> None:
        body = {"metadata": {"name": "builds"}, "spec": {"hard": before | hard}}
        quotas.patch(body=body, namespace=deployed.names[BUILDS], content_type="application/merge-patch+json")
        wanted = body["spec"]["hard"]
        until(lambda: (deployed.space.get("resourcequotas", "builds") or {})["status"].get("hard") == wanted, 60)

    yield change
    change({})


def test_a_quota_of_jobs_that_is_full_refuses_the_launch_by_name(deployed: Deployed, shop: Workshop, full):
    full({"count/jobs.batch": "0"})
    backend = deployed.backend()
    with pytest.raises(Refused, match=r"exceeded quota: builds, requested: count/jobs\.batch=1"):
        backend.launch(shop.spec({"Dockerfile": DOCKERFILE}), SECRETS)
    backend.close()


def test_a_quota_of_pods_that_is_full_is_told_by_name(deployed: Deployed, shop: Workshop, full):
    full({"pods": "0"})
    backend = deployed.backend()
    spec = shop.spec({"Dockerfile": DOCKERFILE})
    backend.launch(spec, SECRETS)
    state = wait_until(backend, spec, lambda state: bool(state.problem), 60)
    backend.delete(spec)
    backend.close()
    assert state.problem.startswith("The cluster refuses the build's pod: exceeded quota: builds, requested: pods=1")


def test_the_check_of_the_network_tells_that_this_one_enforces_nothing(deployed: Deployed):
    """As docs/deploy.md has it; the cluster of the tests has no policy engine, so the API server is reached."""
    job = yaml.safe_load((DEPLOY / "check" / "network.yaml").read_text())
    (part,) = job["spec"]["template"]["spec"]["containers"]
    part["image"] = CHECK_IMAGE
    deployed.space.create("jobs", job)
    path, query = deployed.space.path("pods"), {"labelSelector": "batch.kubernetes.io/job-name=ci-portal-network-check"}

    def ended() -> dict[str, Any] | None:
        pods = deployed.space.admin.request("GET", path, query=query)[0]["items"]
        return next((pod for pod in pods if pod["status"]["phase"] in ("Succeeded", "Failed")), None)

    found = until(ended, 90)
    said = deployed.space.admin.stream(f"{path}/{found['metadata']['name']}/log", {}, 20).read().decode()
    assert found["status"]["phase"] == "Failed"
    assert "REACHED  the API server (" in said
