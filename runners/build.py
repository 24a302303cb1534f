"""What one build is, as plain data: the input of every backend. No Django here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class BuildSpec:
    """A build without its secrets; from it and the backend's settings follows the whole Job."""

    run_id: int
    run_uid: str  # 32 hexadecimal digits, the run's identity outside the database
    event_id: int
    name: str  # of the Job or local build: a DNS-1123 label of at most 63 characters, it follows from the run
    repo_name: str
    repo_url: str  # https or ssh, no credential in it
    ref: str  # full ref name (refs/heads/…, refs/tags/…) or HEAD, to fetch where a server refuses to serve a bare commit
    commit: str  # full object id
    dockerfile: str  # relative to the checkout
    build_path: str  # relative to the checkout; "." is its root
    registry: str  # host[:port] (REGISTORY_ADD); "" for an OCI layout on disk
    image_repo: str  # path between host and name (IMAGE_REPO), may be ""
    image_name: str
    image_tag: str
    registry_user: str = ""  # REGISTRY_NAME
    ca_secret: str = ""
    insecure_registry: bool = False
    builder: str = "buildkit"  # buildkit | buildah
    build_type: str = ""  # gitstat.type
    timeout_seconds: int = 3600
    cache: bool = False
    submodules: bool = False
    broken_uid: str = ""  # the run_uid of the attempt before it, where the cluster ended that
    installation: str = ""  # the portal whose build it is: several may share a namespace

    @property
    def image(self) -> str:
        """Name of the image without tag, like registry.example:5000/team/app."""
        return "/".join(part for part in (self.registry, self.image_repo, self.image_name) if part)

    @property
    def image_reference(self) -> str:
        """Name of the image with its tag."""
        return f"{self.image}:{self.image_tag}"

    def columns(self) -> dict[str, str]:
        """The run's columns by their own names, as every step's environment has them; REGISTRY_PASS is no part of it."""
        return {
            "REGISTORY_ADD": self.registry,
            "REGISTRY_NAME": self.registry_user,
            "IMAGE_REPO": self.image_repo,
            "IMAGE_NAME": self.image_name,
            "IMAGE_TAG": self.image_tag,
            "REPO_PATH": self.repo_url,
            "REPO_DOCKERFILE": self.dockerfile,
            "BUILD_PATH": self.build_path,
        }


@dataclass(frozen=True, slots=True)
class BuildSecrets:
    """What a build needs and nobody may see. `repr` shows nothing of it."""

    git_username: str = field(default="", repr=False)
    git_password: str = field(default="", repr=False)
    ssh_key: str = field(default="", repr=False)
    known_hosts: str = field(default="", repr=False)
    registry_username: str = field(default="", repr=False)
    registry_password: str = field(default="", repr=False)

    def values(self) -> list[str]:
        """Every text that must be masked wherever the build prints it."""
        return [value for value in (self.git_username, self.git_password, self.ssh_key, self.registry_password) if value]


@dataclass(frozen=True, slots=True)
class JobSettings:
    """What the operator decides for every Job (configuration section KUBERNETES and BUILD)."""

    namespace: str
    builder_image: str
    clone_image: str
    queue: str = ""
    node_selector: dict[str, str] = field(default_factory=dict)
    tolerations: list[dict[str, Any]] = field(default_factory=list)
    pod_annotations: dict[str, str] = field(default_factory=dict)
    resources: dict[str, dict[str, str]] = field(default_factory=dict)
    ttl_seconds: int = 86400
