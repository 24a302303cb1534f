"""The backend that the configuration chooses."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from django.conf import settings

from ci_portal.config import BASE_DIR, Config
from repos import urls
from repos.addresses import allowed_addresses
from repos.errors import GitError, HostUnreachable
from runners.backends.base import Backend, Refused, Unreachable
from runners.build import JobSettings

#: Images that hold git, a shell and the builder: https://hub.docker.com/r/moby/buildkit, https://quay.io/repository/buildah/stable
BUILDER_IMAGES = {"buildkit": "docker.io/moby/buildkit:rootless", "buildah": "quay.io/buildah/stable:latest"}

#: The names that a run may have in its column `backend`.
BACKENDS = ("kubernetes", "local")


def job_settings(config: Config) -> JobSettings:
    """What the operator decided for every Job."""
    build, cluster = config.build, config.kubernetes
    return JobSettings(
        namespace=cluster.namespace,
        builder_image=build.builder_image or BUILDER_IMAGES[build.builder],
        clone_image=build.clone_image or (build.builder_image or BUILDER_IMAGES["buildkit"]),
        queue=cluster.queue,
        node_selector=cluster.node_selector,
        tolerations=cluster.tolerations,
        pod_annotations=cluster.pod_annotations,
        resources=cluster.resources,
        ttl_seconds=cluster.ttl_seconds,
    )


def bundle() -> str:
    """The certificates (PEM) of git.ca_bundle, which the portal's own connections trust besides the system's; "" without one."""
    path = settings.PORTAL.git.ca_bundle
    return Path(path).read_text(encoding="utf-8") if path else ""


def pins(url: str) -> list[str]:
    """The entry of git's http.curloptResolve that keeps a build's clone on the addresses that are allowed for this URL.

    Raises Refused where none is allowed, Unreachable where the name has no address now.
    """
    try:
        parts = urls.parts(url)
        addresses = allowed_addresses(parts.host, parts.port)
    except HostUnreachable as error:
        raise Unreachable(str(error)) from None
    except GitError as error:
        raise Refused(str(error)) from None
    if addresses == [parts.host]:
        return []
    dialled = ",".join(f"[{address}]" if ":" in address else address for address in addresses)
    return [f"{parts.host}:{parts.port}:{dialled}"]


@lru_cache(maxsize=2)
def _backend(name: str, config_json: str) -> Backend:
    config: Config = settings.PORTAL
    if name == "kubernetes":
        from runners.backends.kubernetes import KubernetesBackend

        return KubernetesBackend(job_settings(config), kubeconfig=config.kubernetes.kubeconfig, context=config.kubernetes.context)
    from runners.backends.local import Limits, LocalBackend

    folder = BASE_DIR / config.build.folder
    limits = Limits(config.build.disk_bytes, config.build.disk_free_bytes, config.output.limit_bytes)
    return LocalBackend(
        folder / "builds",
        Path(config.conf_folder) / "ca",
        layouts=folder / "images",
        trusted_pem=bundle(),
        pins=pins,
        limits=limits,
    )


def backend_named(name: str) -> Backend:
    """The one backend object of this process with that name; a run names its own, a new run gets the configured one."""
    return _backend(name, settings.PORTAL.model_dump_json())


def configured_backend() -> Backend:
    """Where new runs go."""
    return backend_named(settings.PORTAL.build.backend)
