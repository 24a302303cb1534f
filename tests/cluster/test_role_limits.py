"""What the portal's account must not be able to do, asked of the API server with the account's own token."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from runners.backends.kubernetes_api import MERGE_PATCH, Api, ApiError
from tests.support.cluster import Namespace, namespace, portal_rules

pytestmark = pytest.mark.needs_cluster

REVIEWS = "/apis/authorization.k8s.io/v1"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
POD = {"metadata": {"name": "mine"}, "spec": {"containers": [{"name": "mine", "image": "x"}]}}
#: By name: method and path, {own} is the builds' namespace, {other} one that is not, {secret} a Secret that is in both.
FORBIDDEN = {
    "list the Secrets of builds": ("GET", "/api/v1/namespaces/{own}/secrets"),
    "watch the Secrets of builds": ("GET", "/api/v1/namespaces/{own}/secrets?watch=1"),
    "read a Secret of builds": ("GET", "/api/v1/namespaces/{own}/secrets/{secret}"),
    "change a Secret": ("PATCH", "/api/v1/namespaces/{own}/secrets/{secret}"),
    "replace a Secret": ("PUT", "/api/v1/namespaces/{own}/secrets/{secret}"),
    "delete all Secrets": ("DELETE", "/api/v1/namespaces/{own}/secrets"),
    "delete all Jobs": ("DELETE", "/apis/batch/v1/namespaces/{own}/jobs"),
    "write a Job's status": ("PATCH", "/apis/batch/v1/namespaces/{own}/jobs/any/status"),
    "read one pod": ("GET", "/api/v1/namespaces/{own}/pods/any"),
    "create a pod": ("POST", "/api/v1/namespaces/{own}/pods"),
    "delete a pod": ("DELETE", "/api/v1/namespaces/{own}/pods/any"),
    "evict a pod": ("POST", "/api/v1/namespaces/{own}/pods/any/eviction"),
    "change a pod": ("PATCH", "/api/v1/namespaces/{own}/pods/any"),
    "add a container to a pod": ("PATCH", "/api/v1/namespaces/{own}/pods/any/ephemeralcontainers"),
    "run a command in a pod": ("POST", "/api/v1/namespaces/{own}/pods/any/exec?command=id"),
    "attach to a pod": ("POST", "/api/v1/namespaces/{own}/pods/any/attach"),
    "forward a port of a pod": ("POST", "/api/v1/namespaces/{own}/pods/any/portforward"),
    "speak to a pod through the API": ("GET", "/api/v1/namespaces/{own}/pods/any/proxy/"),
    "create a Deployment": ("POST", "/apis/apps/v1/namespaces/{own}/deployments"),
    "create a DaemonSet": ("POST", "/apis/apps/v1/namespaces/{own}/daemonsets"),
    "create a CronJob": ("POST", "/apis/batch/v1/namespaces/{own}/cronjobs"),
    "read ConfigMaps": ("GET", "/api/v1/namespaces/{own}/configmaps"),
    "make an account": ("POST", "/api/v1/namespaces/{own}/serviceaccounts"),
    "get a token of an account": ("POST", "/api/v1/namespaces/{own}/serviceaccounts/default/token"),
    "read Roles": ("GET", RBAC + "/namespaces/{own}/roles"),
    "create a Role": ("POST", RBAC + "/namespaces/{own}/roles"),
    "widen its own Role": ("PATCH", RBAC + "/namespaces/{own}/roles/portal"),
    "bind a Role": ("POST", RBAC + "/namespaces/{own}/rolebindings"),
    "take away the NetworkPolicy": ("DELETE", "/apis/networking.k8s.io/v1/namespaces/{own}/networkpolicies/builds"),
    "widen the quota": ("PATCH", "/api/v1/namespaces/{own}/resourcequotas/builds"),
    "take away the limits": ("DELETE", "/api/v1/namespaces/{own}/limitranges/builds"),
    "create an Event": ("POST", "/api/v1/namespaces/{own}/events"),
    "relabel its namespace": ("PATCH", "/api/v1/namespaces/{own}"),
    "delete its namespace": ("DELETE", "/api/v1/namespaces/{own}"),
    "list Jobs elsewhere": ("GET", "/apis/batch/v1/namespaces/{other}/jobs"),
    "create a Job elsewhere": ("POST", "/apis/batch/v1/namespaces/{other}/jobs"),
    "read a Secret elsewhere": ("GET", "/api/v1/namespaces/{other}/secrets/{secret}"),
    "create a Secret elsewhere": ("POST", "/api/v1/namespaces/{other}/secrets"),
    "delete a Secret elsewhere": ("DELETE", "/api/v1/namespaces/{other}/secrets/{secret}"),
    "read logs elsewhere": ("GET", "/api/v1/namespaces/{other}/pods/any/log"),
    "list pods of kube-system": ("GET", "/api/v1/namespaces/kube-system/pods"),
    "list all pods": ("GET", "/api/v1/pods"),
    "list all Jobs": ("GET", "/apis/batch/v1/jobs"),
    "list all Secrets": ("GET", "/api/v1/secrets"),
    "list namespaces": ("GET", "/api/v1/namespaces"),
    "create a namespace": ("POST", "/api/v1/namespaces"),
    "list nodes": ("GET", "/api/v1/nodes"),
    "speak to a kubelet": ("GET", "/api/v1/nodes/any/proxy/pods"),
    "create a volume": ("POST", "/api/v1/persistentvolumes"),
    "read ClusterRoles": ("GET", RBAC + "/clusterroles"),
    "bind a ClusterRole": ("POST", RBAC + "/clusterrolebindings"),
    "ask for a certificate": ("POST", "/apis/certificates.k8s.io/v1/certificatesigningrequests"),
    "make a webhook": ("POST", "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"),
    "take away an admission policy": ("DELETE", "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies/any"),
    "define a resource": ("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"),
    "ask what others may do": ("POST", f"{REVIEWS}/subjectaccessreviews"),
}
#: What is no path of its own: verbs that RBAC checks inside of other requests.
NEVER_ALLOWED = [
    {"verb": "impersonate", "resource": "users"},
    {"verb": "impersonate", "resource": "serviceaccounts", "namespace": "{own}"},
    {"verb": "escalate", "group": "rbac.authorization.k8s.io", "resource": "roles", "namespace": "{own}"},
    {"verb": "bind", "group": "rbac.authorization.k8s.io", "resource": "clusterroles"},
    {"verb": "get", "resource": "secrets", "namespace": "{own}"},
    {"verb": "*", "group": "*", "resource": "*", "namespace": "{own}"},
    {"verb": "*", "group": "*", "resource": "*"},
]


@dataclass
class Bounds:
    """The portal's account, an account without a Role beside it, and where they are."""

    portal: Api
    nobody: Api
    own: Namespace
    other: Namespace

    def fill(self, text: str) -> str:
        return text.format(own=self.own.name, other=self.other.name, secret="login")


@pytest.fixture(scope="module")
def bounds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bounds]:
    folders = tmp_path_factory.mktemp("own"), tmp_path_factory.mktemp("other")
    with namespace(folders[0], "ci-portal-own") as own, namespace(folders[1], "ci-portal-other") as other:
        for space in (own, other):
            space.create("secrets", {"metadata": {"name": "login"}, "stringData": {"password": "of another"}})
        made = Bounds(Api(own.kubeconfig), Api(own.account("nobody", [])), own, other)
        yield made
        made.portal.close()
        made.nobody.close()


@pytest.mark.parametrize("act", FORBIDDEN)
def test_it_may_not(bounds: Bounds, act: str):
    method, path = FORBIDDEN[act]
    body = None if method == "GET" else POD if method in ("POST", "PUT") else {}
    kind = MERGE_PATCH if method == "PATCH" else "application/json"
    with pytest.raises(ApiError) as refused:
        bounds.portal.request(method, bounds.fill(path), body, content_type=kind)
    assert (refused.value.status, "forbidden" in refused.value.message) == (403, True), refused.value.message


@pytest.mark.parametrize("wanted", NEVER_ALLOWED, ids=lambda wanted: f"{wanted['verb']}-{wanted['resource']}")
def test_it_is_not_allowed_to(bounds: Bounds, wanted: dict[str, str]):
    attributes = {key: bounds.fill(value) for key, value in wanted.items()}
    body = {"spec": {"resourceAttributes": attributes}}
    assert bounds.portal.request("POST", f"{REVIEWS}/selfsubjectaccessreviews", body)[0]["status"]["allowed"] is False


def allowed(account: Api, where: str) -> set[tuple[str, str, str, str]]:
    """All that the API server says an account may do in a namespace: (group or URL, resource, name, verb)."""
    answer = account.request("POST", f"{REVIEWS}/selfsubjectrulesreviews", {"spec": {"namespace": where}})[0]["status"]
    assert not answer["incomplete"]
    return pairs(answer["resourceRules"]) | {
        (url, "", "", verb) for rule in answer["nonResourceRules"] for url in rule["nonResourceURLs"] for verb in rule["verbs"]
    }


def pairs(rules: list[dict[str, Any]]) -> set[tuple[str, str, str, str]]:
    return {
        (group, resource, name, verb)
        for rule in rules
        for group in rule.get("apiGroups", [""])
        for resource in rule["resources"]
        for name in rule.get("resourceNames") or [""]
        for verb in rule["verbs"]
    }


def test_in_the_namespace_of_builds_it_may_do_what_its_role_says_and_what_every_account_may(bounds: Bounds):
    assert allowed(bounds.portal, bounds.own.name) - allowed(bounds.nobody, bounds.own.name) == pairs(portal_rules())


@pytest.mark.parametrize("where", ["{other}", "default", "kube-system"])
def test_elsewhere_it_may_do_what_every_account_may(bounds: Bounds, where: str):
    assert allowed(bounds.portal, bounds.fill(where)) == allowed(bounds.nobody, bounds.fill(where))


def test_every_account_may_only_ask_about_itself_and_about_the_api(bounds: Bounds):
    resources = {resource for _, resource, _, _ in allowed(bounds.nobody, bounds.own.name) if resource}
    assert resources == {"selfsubjectaccessreviews", "selfsubjectreviews", "selfsubjectrulesreviews"}
