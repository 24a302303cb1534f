"""The manifests of deploy/ as objects, and with other namespaces than their own, so that nothing real is touched."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
#: The namespaces of the manifests.
PORTAL, BUILDS = "ci-portal", "ci-portal-builds"
_POLICIES = ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")


def objects(folder: str) -> list[dict[str, Any]]:
    """Every object of a folder, in the order in which its kustomization names the files."""
    names = yaml.safe_load((DEPLOY / folder / "kustomization.yaml").read_text())["resources"]
    return [item for name in names for item in yaml.safe_load_all((DEPLOY / folder / name).read_text())]


def moved(item: dict[str, Any], namespaces: dict[str, str]) -> dict[str, Any]:
    """The object as it would be if the manifests' namespaces were called otherwise; what is cluster-wide too."""
    item = copy.deepcopy(item)
    meta = item["metadata"]
    if item["kind"] == "Namespace" or item["kind"] in _POLICIES:
        meta["name"] = namespaces[meta["name"]]
    if "namespace" in meta:
        meta["namespace"] = namespaces[meta["namespace"]]
    for subject in item.get("subjects", []):
        subject["namespace"] = namespaces[subject["namespace"]]
    if item["kind"] == "ValidatingAdmissionPolicyBinding":
        spec = item["spec"]
        spec["policyName"] = namespaces[spec["policyName"]]
        labels = spec["matchResources"]["namespaceSelector"]["matchLabels"]
        labels["kubernetes.io/metadata.name"] = namespaces[labels["kubernetes.io/metadata.name"]]
    return item


def overlay(namespaces: dict[str, str], base: str) -> dict[str, Any]:
    """A kustomization that does the same as `moved` to the folder `base`."""
    patches = []
    for name, new in namespaces.items():
        patches.append(_patch({"kind": "Namespace", "name": name}, "/metadata/name", new))
        patches.append(_patch({"namespace": name}, "/metadata/namespace", new))
    builds = namespaces[BUILDS]
    selector = "/spec/matchResources/namespaceSelector/matchLabels/kubernetes.io~1metadata.name"
    patches += [
        _patch({"kind": "RoleBinding"}, "/subjects/0/namespace", namespaces[PORTAL]),
        _patch({"kind": _POLICIES[1]}, "/spec/policyName", builds),
        _patch({"kind": _POLICIES[1]}, selector, builds),
        *(_patch({"kind": kind}, "/metadata/name", builds) for kind in _POLICIES),
    ]
    return {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "resources": [base], "patches": patches}


def _patch(target: dict[str, str], path: str, value: str) -> dict[str, Any]:
    change = yaml.safe_dump([{"op": "replace", "path": path, "value": value}])
    return {"target": target, "patch": change, "options": {"allowNameChange": True}}
