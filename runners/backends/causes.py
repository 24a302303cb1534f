"""Why a run waits or did not end well, in one word for programs: people get a sentence beside it, pages say what to do about it."""

from __future__ import annotations

from enum import StrEnum


class Cause(StrEnum):
    """What is said of a run besides the full sentence. The words are stored: one that was used keeps its meaning."""

    # Why it waits
    TURN = "turn"  # build.max_running is reached
    BACKEND_AWAY = "backend_away"  # the cluster, or what local builds need, can't be reached or used now
    QUEUED = "queued"  # by Kueue
    SUSPENDED = "suspended"  # its Job, by somebody else
    GATED = "gated"
    NO_ROOM = "no_room"
    POD_AWAITED = "pod_awaited"
    CONTAINERS_AWAITED = "containers_awaited"

    # Why it could not be launched, or not start
    CREDENTIALS_UNREADABLE = "credentials_unreadable"
    LAUNCH_REFUSED = "launch_refused"
    LAUNCH_BROKEN = "launch_broken"
    LAUNCH_LOST = "launch_lost"
    WAITED_TOO_LONG = "waited_too_long"
    POD_REFUSED = "pod_refused"
    BUILDER_IMAGE_INVALID = "builder_image_invalid"
    BUILDER_IMAGE_UNAVAILABLE = "builder_image_unavailable"
    CONTAINER_REFUSED = "container_refused"
    CA_SECRET_MISSING = "ca_secret_missing"  # noqa: S105
    CA_SECRET_EMPTY = "ca_secret_empty"  # noqa: S105
    VOLUME_MISSING = "volume_missing"
    SANDBOX_FAILED = "sandbox_failed"
    NEVER_STARTED = "never_started"

    # Why the clone failed
    OUTSIDE_CHECKOUT = "outside_checkout"
    DOCKERFILE_MISSING = "dockerfile_missing"
    BUILD_PATH_MISSING = "build_path_missing"
    COMMIT_GONE = "commit_gone"
    SUBMODULES_FAILED = "submodules_failed"
    GIT_CREDENTIALS_REFUSED = "git_credentials_refused"
    GIT_HOST_UNKNOWN = "git_host_unknown"
    GIT_CERTIFICATE_UNKNOWN = "git_certificate_unknown"
    GIT_REPOSITORY_NOT_FOUND = "git_repository_not_found"
    GIT_HOST_UNREACHABLE = "git_host_unreachable"
    CLONE_FAILED = "clone_failed"

    # Why the build failed
    DOCKERFILE_INVALID = "dockerfile_invalid"
    BASE_IMAGE_UNAVAILABLE = "base_image_unavailable"
    STEP_FAILED = "step_failed"
    BUILD_FAILED = "build_failed"
    OUT_OF_MEMORY = "out_of_memory"
    DISK_FULL = "disk_full"
    DISK_LIMIT = "disk_limit"
    DEADLINE = "deadline"

    # Why the push failed, or proves nothing
    REGISTRY_UNTRUSTED = "registry_untrusted"
    REGISTRY_INSECURE = "registry_insecure"
    REGISTRY_UNREACHABLE = "registry_unreachable"
    PUSH_REFUSED = "push_refused"
    PUSH_FAILED = "push_failed"
    IMAGE_NAME = "image_name"
    NO_DIGEST = "no_digest"
    COMMIT_MISMATCH = "commit_mismatch"
    DIGEST_MISSING = "digest_missing"
    DIGEST_UNCONFIRMED = "digest_unconfirmed"

    # What ended it from outside
    CANCELLED = "cancelled"
    SUPERSEDED = "superseded"
    STOPPED = "stopped"
    JOB_DELETED = "job_deleted"
    JOB_FAILED = "job_failed"
    POD_DELETED = "pod_deleted"
    VANISHED = "vanished"
    NODE_LOST = "node_lost"
    NODE_DRAINED = "node_drained"
    NODE_REFUSED = "node_refused"
    PREEMPTED = "preempted"
    EVICTED = "evicted"
    DISRUPTED = "disrupted"
    MACHINE_RESTARTED = "machine_restarted"
    MACHINE_AWAY = "machine_away"
    MACHINE_BROKEN = "machine_broken"
    PROCESS_LOST = "process_lost"
    FOLDER_GONE = "folder_gone"
    OVERDUE = "overdue"
    EVENT_DELETED = "event_deleted"


#: Of a step that failed and said no more.
_OF_STEP = {"clone": Cause.CLONE_FAILED, "build": Cause.BUILD_FAILED, "push": Cause.PUSH_FAILED}


def of_report(container: str, error: object) -> Cause:
    """The cause that a container's report names. What is none is not believed: code of the build may have written the report."""
    try:
        return Cause(str(error))
    except ValueError:
        return _OF_STEP.get(container, Cause.BUILD_FAILED)
