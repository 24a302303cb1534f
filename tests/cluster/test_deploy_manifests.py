"""The manifests of deploy/base, as an API server judges them."""

import copy
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes
import pytest
import yaml
from kubernetes.dynamic import DynamicClient

pytestmark = pytest.mark.needs_cluster

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"


def objects(folder: str) -> list[dict[str, Any]]:
    """Every object of a folder, in the order in which its kustomization names the files."""
    names = yaml.safe_load((DEPLOY / folder / "kustomization.yaml").read_text())["resources"]
    return [item for name in names for item in yaml.safe_load_all((DEPLOY / folder / name).read_text())]


@pytest.fixture(scope="module")
def cluster() -> Iterator[DynamicClient]:
    with kubernetes.config.new_client_from_config() as client:
        yield DynamicClient(client)


@pytest.fixture(scope="module")
def namespaces(cluster: DynamicClient) -> Iterator[dict[str, str]]:
    """The manifests' two namespaces under names of their own, really there: in others a dry run has nothing to look at."""
    resource = cluster.resources.get(api_version="v1", kind="Namespace")
    made: dict[str, str] = {}
    try:
        for item in objects("base"):
            if item["kind"] == "Namespace":
                item = copy.deepcopy(item)
                name = item["metadata"]["name"]
                item["metadata"]["name"] = f"{name}-{secrets.token_hex(4)}"
                resource.create(body=item)
                made[name] = item["metadata"]["name"]
        yield made
    finally:
        for name in made.values():
            resource.delete(name=name)


def moved(item: dict[str, Any], namespaces: dict[str, str]) -> dict[str, Any]:
    """The object in the test's namespaces; one without a namespace as it is."""
    item = copy.deepcopy(item)
    if "namespace" in item["metadata"]:
        item["metadata"]["namespace"] = namespaces[item["metadata"]["namespace"]]
    for subject in item.get("subjects", []):
        subject["namespace"] = namespaces[subject["namespace"]]
    return item


def ask(cluster: DynamicClient, item: dict[str, Any]) -> Any:
    """A server-side dry run that refuses unknown and repeated fields."""
    resource = cluster.resources.get(api_version=item["apiVersion"], kind=item["kind"])
    query = [("dryRun", "All"), ("fieldValidation", "Strict")]
    return resource.create(body=item, namespace=item["metadata"].get("namespace"), query_params=query)


@pytest.mark.parametrize("item", objects("base"), ids=lambda item: f"{item['kind']}-{item['metadata']['name']}")
def test_the_server_accepts_each_object(cluster: DynamicClient, namespaces: dict[str, str], item: dict[str, Any]) -> None:
    if item["kind"] == "Namespace":
        item = copy.deepcopy(item)
        item["metadata"]["name"] = f"{item['metadata']['name']}-{secrets.token_hex(4)}"
    assert ask(cluster, moved(item, namespaces)).metadata.name


def test_the_portals_pod_passes_its_namespaces_pod_security(cluster: DynamicClient, namespaces: dict[str, str]) -> None:
    base = [moved(item, namespaces) for item in objects("base")]
    account = next(item for item in base if item["kind"] == "ServiceAccount")
    cluster.resources.get(api_version="v1", kind="ServiceAccount").create(body=account, namespace=account["metadata"]["namespace"])
    deployment = next(item for item in base if item["kind"] == "Deployment")
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "portal", "namespace": deployment["metadata"]["namespace"]},
        "spec": deployment["spec"]["template"]["spec"],
    }
    assert ask(cluster, pod).spec.securityContext.runAsNonRoot


def test_the_pod_security_of_the_portals_namespace_refuses_a_root_pod(cluster: DynamicClient, namespaces: dict[str, str]) -> None:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "root", "namespace": namespaces["ci-portal"]},
        "spec": {"automountServiceAccountToken": False, "containers": [{"name": "root", "image": "busybox"}]},
    }
    with pytest.raises(kubernetes.client.exceptions.ApiException) as refused:
        ask(cluster, pod)
    assert refused.value.status == 403
    assert "PodSecurity" in refused.value.body


def test_the_server_would_refuse_a_misspelt_field(cluster: DynamicClient, namespaces: dict[str, str]) -> None:
    claim = moved(next(item for item in objects("base") if item["kind"] == "PersistentVolumeClaim"), namespaces)
    claim["spec"]["acessModes"] = ["ReadWriteOnce"]
    with pytest.raises(kubernetes.client.exceptions.ApiException) as refused:
        ask(cluster, claim)
    assert "unknown field" in refused.value.body
