"""The build Job and its Secret, from a build's description: pure functions, no cluster and no Django (SPEC section 4).

Everything of a Job lies under /ci-portal in its containers: `work` (the checkout in `work/source`), `git`, `registry` and
`ca` (mounted secrets), `home` and `storage` (the builder's). What the containers run is in `scripts/`, inlined, so that
the manifest works with the portal gone.
"""

from __future__ import annotations

import json
from base64 import b64encode
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from runners.build import BuildSecrets, BuildSpec, JobSettings

MANAGED_BY = "ci-portal"
RUN_UID = "ci-portal/run-uid"
INSTALLATION = "ci-portal/installation"
REPOSITORY = "ci-portal/repository"
SELECTOR = f"app.kubernetes.io/managed-by={MANAGED_BY}"

_SCRIPTS = Path(__file__).parent / "scripts"
_USER = 1000  # of the public builder images too; /etc/subuid in them names it
_CA = "/ci-portal/ca"
#: How long a container that is to end may take for it before it is killed: enough to report what it printed.
GRACE_SECONDS = 15
#: Where Go programs (BuildKit, buildah) look for certificates: the system's places, then ours.
_CERTIFICATES = f"/etc/ssl/certs:/etc/pki/tls/certs:{_CA}"

Manifest = dict[str, Any]


def containers(spec: BuildSpec) -> tuple[str, ...]:
    """Names of the Job's containers in the order they run."""
    return ("clone", "build", "push") if spec.builder == "buildah" else ("clone", "build")


def labels(spec: BuildSpec) -> dict[str, str]:
    """What Job, Pod and Secret of this run are found by."""
    return {
        "app.kubernetes.io/name": "ci-portal-build",
        "app.kubernetes.io/instance": spec.name,
        "app.kubernetes.io/component": "build",
        "app.kubernetes.io/part-of": "ci-portal",
        "app.kubernetes.io/managed-by": MANAGED_BY,
        "ci-portal/event-id": str(spec.event_id),
        "ci-portal/run-id": str(spec.run_id),
        RUN_UID: spec.run_uid,
        **({INSTALLATION: spec.installation} if spec.installation else {}),
    }


def build_job(spec: BuildSpec, settings: JobSettings, broken_node: str = "") -> Manifest:
    """The Job, suspended: it starts once its Secret is there. With a Kueue queue it is Kueue that lets it start.

    `broken_node`: the name of a node that another should be preferred to.
    """
    queue = {"kueue.x-k8s.io/queue-name": settings.queue} if settings.queue else {}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": spec.name,
            "namespace": settings.namespace,
            "labels": labels(spec) | queue,
            "annotations": {REPOSITORY: spec.repo_name, "ci-portal/image": spec.image_reference},
        },
        "spec": {
            "suspend": True,
            "backoffLimit": 0,
            "completions": 1,
            "parallelism": 1,
            "activeDeadlineSeconds": spec.timeout_seconds,
            "ttlSecondsAfterFinished": settings.ttl_seconds,
            "podReplacementPolicy": "Failed",
            # A Job never makes a second pod; the portal retries what the cluster broke, as a run of its own.
            "podFailurePolicy": {
                "rules": [{"action": "FailJob", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]
            },
            "template": {
                "metadata": {
                    "labels": labels(spec),
                    **({"annotations": settings.pod_annotations} if settings.pod_annotations else {}),
                },
                "spec": _pod(spec, settings) | ({"affinity": _elsewhere(broken_node)} if broken_node else {}),
            },
        },
    }


def build_secret(spec: BuildSpec, secrets: BuildSecrets, owner: Manifest) -> Manifest:
    """The run's one Secret, owned by the Job `owner` (as the API returned it), so that it goes when the Job goes.

    It always has every key, empty where there is nothing to log in with, so that the Job is the same either way.
    """
    meta = owner["metadata"]
    reference = {"apiVersion": "batch/v1", "kind": "Job", "name": meta["name"], "uid": meta["uid"]}
    manifest = _secret(
        spec,
        meta["namespace"],
        {
            "git-username": secrets.git_username,
            "git-password": secrets.git_password,
            "git-ssh-key": secrets.ssh_key,
            "git-known-hosts": secrets.known_hosts,
            "registry-config.json": docker_config(spec.registry, secrets.registry_username, secrets.registry_password),
        },
    )
    manifest["metadata"]["ownerReferences"] = [reference]
    return manifest


def export(spec: BuildSpec, settings: JobSettings) -> list[Manifest]:
    """Job and Secret for people: the Job starts when applied, the Secret's values are placeholders to fill in.

    Neither says that it is this portal's: what a person applied by hand is not the portal's to remove.
    """
    spec = replace(spec, installation="")
    job = build_job(spec, settings)
    del job["spec"]["suspend"]
    https = spec.repo_url.startswith("https://")
    placeholders = {
        "git-username": "<user of the git remote, empty for none>" if https else "",
        "git-password": "<token of the git remote, empty for none>" if https else "",
        "git-ssh-key": "" if https else "<private key for the git remote>",
        "git-known-hosts": "" if https else "<known_hosts lines of the git remote>",
        "registry-config.json": docker_config(spec.registry, spec.registry_user or "<user>", "<password>"),
    }
    return [_secret(spec, settings.namespace, placeholders), job]


def docker_config(registry: str, username: str, password: str) -> str:
    """A docker config.json with one login, or with none where there is no password."""
    if not password:
        return '{"auths":{}}'
    # Docker's own spelling of its hub in this file; BuildKit and buildah look it up under that name.
    host = "https://index.docker.io/v1/" if registry in ("docker.io", "index.docker.io", "registry-1.docker.io") else registry
    token = b64encode(f"{username}:{password}".encode()).decode()
    return json.dumps({"auths": {host: {"auth": token}}}, separators=(",", ":"))


def _secret(spec: BuildSpec, namespace: str, values: dict[str, str]) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": spec.name, "namespace": namespace, "labels": labels(spec)},
        "type": "Opaque",
        "immutable": True,
        "stringData": values,
    }


def _elsewhere(node: str) -> Manifest:
    """On another node, if there is one that has room."""
    other = {"matchFields": [{"key": "metadata.name", "operator": "NotIn", "values": [node]}]}
    return {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "preference": other}]}}


def _pod(spec: BuildSpec, settings: JobSettings) -> Manifest:
    *before, last = [_container(name, spec, settings) for name in containers(spec)]
    pod: Manifest = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {"runAsNonRoot": True, "runAsUser": _USER, "runAsGroup": _USER},
        "initContainers": before,
        "containers": [last],
        "volumes": _volumes(spec),
    }
    if settings.node_selector:
        pod["nodeSelector"] = settings.node_selector
    if settings.tolerations:
        pod["tolerations"] = settings.tolerations
    return pod


def _container(name: str, spec: BuildSpec, settings: JobSettings) -> Manifest:
    script = spec.builder if name == "build" else name
    container: Manifest = {
        "name": name,
        "image": settings.clone_image if name == "clone" else settings.builder_image,
        "command": ["/bin/sh", "-c", _script(script)],
        "env": [{"name": key, "value": value.replace("$", "$$")} for key, value in _environment(name, spec).items()],
        "volumeMounts": [{"name": volume, **mount} for volume, mount in _mounts(name, spec)],
        "securityContext": _clone_security() if name == "clone" else _builder_security(),
        "terminationMessagePolicy": "File",
    }
    if settings.resources:
        container["resources"] = settings.resources
    return container


@cache
def _script(name: str) -> str:
    return (_SCRIPTS / f"{name}.sh").read_text(encoding="utf-8") + "\n" + (_SCRIPTS / "report.sh").read_text(encoding="utf-8")


def _environment(container: str, spec: BuildSpec) -> dict[str, str]:
    """The run's columns by their own names (REGISTRY_PASS is a mounted login instead), and what the scripts need besides.

    Values are literal: the caller doubles each `$`, which Kubernetes would otherwise expand in `$(NAME)`.
    """
    values = spec.columns()
    if container == "clone":
        return values | {"REPO_REF": spec.ref, "REPO_COMMIT": spec.commit, "REPO_SUBMODULES": "1" if spec.submodules else "0"}
    values |= {"IMAGE": spec.image_reference, "REGISTRY_INSECURE": "1" if spec.insecure_registry else "0"}
    if spec.builder == "buildkit":
        values["DOCKER_CONFIG"] = "/ci-portal/registry"
        values |= {"BUILD_CACHE": "1" if spec.cache else "0", "CACHE_IMAGE": f"{spec.image}:buildcache"}
    if spec.ca_secret:
        values["SSL_CERT_DIR"] = _CERTIFICATES
    return values


def _mounts(container: str, spec: BuildSpec) -> list[tuple[str, Manifest]]:
    """(volume, mount) of a container: each has a /tmp of its own, and only what it must see."""
    mounts: list[tuple[str, Manifest]] = [(f"{container}-tmp", {"mountPath": "/tmp"})]  # noqa: S108
    if container == "clone":
        mounts += [("work", {"mountPath": "/ci-portal/work"}), ("git", {"mountPath": "/ci-portal/git", "readOnly": True})]
    if container == "build":
        mounts += [("work", {"mountPath": "/ci-portal/work", "readOnly": True}), ("home", {"mountPath": "/ci-portal/home"})]
    if container in ("build", "push"):
        mounts.append(("storage", {"mountPath": "/ci-portal/storage"}))
    if container == containers(spec)[-1]:
        mounts.append(("registry", {"mountPath": "/ci-portal/registry", "readOnly": True}))
    if spec.ca_secret:
        mounts.append(("ca", {"mountPath": _CA, "readOnly": True}))
    return mounts


def _volumes(spec: BuildSpec) -> list[Manifest]:
    scratch = ["work", *(f"{name}-tmp" for name in containers(spec)), "home", "storage"]
    git = {key: key.removeprefix("git-") for key in ("git-username", "git-password", "git-ssh-key", "git-known-hosts")}
    volumes = [{"name": name, "emptyDir": {}} for name in scratch]
    volumes.append(_secret_volume("git", spec.name, git))
    volumes.append(_secret_volume("registry", spec.name, {"registry-config.json": "config.json"}))
    if spec.ca_secret:
        volumes.append(_secret_volume("ca", spec.ca_secret, {"ca.crt": "ca.crt"}))
    return volumes


def _secret_volume(name: str, secret: str, items: dict[str, str]) -> Manifest:
    # The files belong to root; who may read them is decided by which container mounts them.
    paths = [{"key": key, "path": path} for key, path in items.items()]
    return {"name": name, "secret": {"secretName": secret, "defaultMode": 0o444, "optional": False, "items": paths}}


def _clone_security() -> Manifest:
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def _builder_security() -> Manifest:
    """What a builder without root needs: a user namespace (newuidmap has file capabilities) and mounts inside it."""
    return {
        "allowPrivilegeEscalation": True,
        "capabilities": {"drop": ["ALL"], "add": ["SETUID", "SETGID"]},
        "seccompProfile": {"type": "Unconfined"},
        "appArmorProfile": {"type": "Unconfined"},
    }
