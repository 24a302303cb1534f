"""What deploy/ holds, read without a cluster."""

from __future__ import annotations

import json
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.deployed import BUILDS, DEPLOY, PORTAL, objects

MANIFESTS = sorted(path for path in DEPLOY.rglob("*.yaml") if path.name != "kustomization.yaml")
BASE = objects("base")


def only(kind: str, name: str = "") -> dict[str, Any]:
    (found,) = [item for item in BASE if item["kind"] == kind and name in ("", item["metadata"]["name"])]
    return found


def portal_pod() -> dict[str, Any]:
    return only("Deployment")["spec"]["template"]["spec"]


def portal_containers() -> list[dict[str, Any]]:
    return [*portal_pod()["initContainers"], *portal_pod()["containers"]]


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: str(path.relative_to(DEPLOY)))
def test_each_file_holds_objects_with_kind_and_name(path: Path):
    for item in yaml.safe_load_all(path.read_text()):
        assert item["apiVersion"]
        assert item["kind"]
        assert item["metadata"]["name"]


@pytest.mark.parametrize("folder", ["base", "example"])
def test_the_kustomization_names_every_file_beside_it(folder: str):
    named = yaml.safe_load((DEPLOY / folder / "kustomization.yaml").read_text())["resources"]
    assert {name for name in named if name.endswith(".yaml")} == {
        path.name for path in (DEPLOY / folder).glob("*.yaml") if path.name != "kustomization.yaml"
    }


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: str(path.relative_to(DEPLOY)))
def test_no_secret_is_delivered(path: Path):
    assert "Secret" not in {item["kind"] for item in yaml.safe_load_all(path.read_text())}


def test_the_example_configuration_holds_no_secret():
    text = (DEPLOY / "example" / "configure_server.json").read_text()
    configuration = json.loads(text)
    assert "secrets" not in configuration
    assert "password" not in text


def test_the_portals_image_is_named_once_by_whoever_deploys_it():
    """`images:` in the kustomization gives address and tag; the manifests have a bare name for it."""
    assert {container["image"] for container in portal_containers()} == {"ci-portal"}
    (image,) = yaml.safe_load((DEPLOY / "example" / "kustomization.yaml").read_text())["images"]
    assert image["name"] == "ci-portal"
    assert image["newTag"] not in ("", "latest")


def test_every_other_image_has_a_tag():
    check = yaml.safe_load((DEPLOY / "check" / "network.yaml").read_text())
    (container,) = check["spec"]["template"]["spec"]["containers"]
    assert container["image"].rpartition(":")[2] not in ("", "latest")


def test_there_is_one_role_and_nothing_is_bound_cluster_wide():
    kinds = [item["kind"] for item in BASE]
    assert kinds.count("Role") == kinds.count("RoleBinding") == 1
    assert not {"ClusterRole", "ClusterRoleBinding"} & set(kinds)
    (subject,) = only("RoleBinding")["subjects"]
    account = only("ServiceAccount")["metadata"]
    assert (subject["name"], subject["namespace"]) == (account["name"], account["namespace"])


def test_the_namespaces_say_which_pods_they_admit():
    levels = {item["metadata"]["name"]: item["metadata"]["labels"] for item in BASE if item["kind"] == "Namespace"}
    assert levels[PORTAL]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert levels[BUILDS]["pod-security.kubernetes.io/enforce"] == "privileged"


# The portal's own pod


def test_the_portal_runs_as_nobody_special():
    security = portal_pod()["securityContext"]
    assert security["runAsNonRoot"] is True
    assert security["runAsUser"] > 0
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(portal_pod())


@pytest.mark.parametrize("container", portal_containers(), ids=lambda container: container["name"])
def test_each_container_of_the_portal_is_locked(container: dict[str, Any]):
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert set(container["resources"]["requests"]) >= {"cpu", "memory"}
    assert "memory" in container["resources"]["limits"]


def test_the_portal_is_probed():
    (container,) = portal_pod()["containers"]
    assert {"readinessProbe", "livenessProbe", "startupProbe"} <= set(container)


def test_what_is_mounted_into_the_portal_comes_from_no_node():
    kinds = {key for volume in portal_pod()["volumes"] for key in volume if key != "name"}
    assert kinds == {"configMap", "secret", "persistentVolumeClaim", "emptyDir"}


def test_the_configuration_gets_no_variables_from_services():
    assert portal_pod()["enableServiceLinks"] is False


def test_draining_a_node_is_never_blocked_for_ever():
    budget = only("PodDisruptionBudget")["spec"]
    assert budget["maxUnavailable"] == 1
    assert budget["selector"] == only("Deployment")["spec"]["selector"]


def test_the_portal_is_reached_at_its_web_port_alone():
    policy = only("NetworkPolicy", "portal")["spec"]
    assert (policy["podSelector"], policy["policyTypes"]) == ({}, ["Ingress"])
    (rule,) = policy["ingress"]
    (port,) = portal_pod()["containers"][0]["ports"]
    assert rule["ports"] == [{"protocol": "TCP", "port": port["containerPort"]}]


# The network of builds


def reached(address: str) -> bool:
    """Whether the policy lets a build connect to the address, at any port."""
    for rule in only("NetworkPolicy", "builds")["spec"]["egress"]:
        for block in (peer["ipBlock"] for peer in rule["to"] if "ipBlock" in peer):
            inside = ip_address(address) in ip_network(block["cidr"])
            if inside and not any(ip_address(address) in ip_network(part) for part in block["except"]):
                return True
    return False


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "10.0.0.1",
        "10.96.0.1",
        "10.255.255.255",
        "100.64.0.1",
        "100.100.100.200",
        "127.0.0.1",
        "168.63.129.16",
        "169.254.169.254",
        "169.254.170.2",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.192",
        "192.168.1.1",
        "198.18.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "2002:a00:1::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "ff02::1",
    ],
)
def test_builds_are_kept_from_private_and_metadata_addresses(address: str):
    assert not reached(address)


@pytest.mark.parametrize("address", ["1.1.1.1", "140.82.121.3", "172.32.0.1", "192.167.0.1", "2606:4700::1111"])
def test_builds_may_fetch_from_the_internet(address: str):
    assert reached(address)


def test_builds_ask_the_clusters_dns_and_nobody_connects_to_them():
    policy = only("NetworkPolicy", "builds")["spec"]
    assert (policy["podSelector"], policy["policyTypes"], policy["ingress"]) == ({}, ["Ingress", "Egress"], [])
    dns = next(rule for rule in policy["egress"] if any("podSelector" in peer for peer in rule["to"]))
    assert {(port["protocol"], port["port"]) for port in dns["ports"]} == {("UDP", 53), ("TCP", 53)}
    assert dns["to"] == [
        {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
            "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
        }
    ]


def test_private_hosts_are_opened_one_by_one():
    policy = yaml.safe_load((DEPLOY / "example" / "private-hosts.yaml").read_text())
    assert policy["metadata"]["namespace"] == BUILDS
    for rule in policy["spec"]["egress"]:
        assert rule["ports"]
        assert all(ip_network(peer["ipBlock"]["cidr"]).num_addresses == 1 for peer in rule["to"])


# How much builds may take


def test_a_container_of_which_nothing_is_said_has_requests_and_limits():
    (limits,) = only("LimitRange")["spec"]["limits"]
    assert set(limits["defaultRequest"]) == {"cpu", "memory", "ephemeral-storage"}
    assert set(limits["default"]) == set(limits["max"]) == {"memory", "ephemeral-storage"}


def test_what_the_quota_counts_every_container_has():
    """A pod without a value for something that is counted would be refused."""
    (limits,) = only("LimitRange")["spec"]["limits"]
    hard = only("ResourceQuota")["spec"]["hard"]
    assert {key.removeprefix("requests.") for key in hard if key.startswith("requests.")} <= set(limits["defaultRequest"])
    assert {key.removeprefix("limits.") for key in hard if key.startswith("limits.")} <= set(limits["default"])


# The image


def test_the_image_is_made_of_what_the_lock_file_names_and_runs_as_the_deployments_user():
    lines = (DEPLOY / "Containerfile").read_text().splitlines()
    text = "\n".join(lines)
    assert "--require-hashes -r requirements.txt" in text
    user = portal_pod()["securityContext"]["runAsUser"]
    assert f"USER {user}:{user}" in lines
    assert f"useradd --uid {user} " in text


@pytest.mark.parametrize("kept_out", [".*", "var", "tests", "deploy"])
def test_the_image_holds_nothing_of_a_checkout_that_is_secret_or_not_needed(kept_out: str):
    assert kept_out in (DEPLOY.parent / ".containerignore").read_text().splitlines()
