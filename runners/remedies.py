"""What to do about each cause for which a run waits or failed, in the reader's language, and where the setting to change is."""

from __future__ import annotations

from dataclasses import dataclass

from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from runners.backends.causes import Cause
from runners.models import Run


@dataclass(frozen=True, slots=True)
class Remedy:
    """A few words that name the cause, and one sentence that says what to do or what will happen."""

    title: str | Promise
    advice: str | Promise
    field: str = ""  # of the repository's settings, to be changed there
    key: str = ""  # of the portal's configuration, which an admin changes
    again: bool = False  # trying again without a change may help


REMEDIES: dict[Cause, Remedy] = {
    # Why it waits
    Cause.TURN: Remedy(
        _("Waiting for its turn"),
        _("It starts by itself as soon as a build before it has ended; repositories take turns."),
        key="build.max_running",
    ),
    Cause.BACKEND_AWAY: Remedy(
        _("Builds can't be started now"),
        _("Nothing is lost: the portal tries again by itself and starts it as soon as the cause is gone."),
        key="build.wait_seconds",
    ),
    Cause.QUEUED: Remedy(
        _("Held back by Kueue"),
        _("It starts by itself as soon as its queue has quota for it. The time limit of the build has not begun."),
        key="kubernetes.queue",
    ),
    Cause.SUSPENDED: Remedy(
        _("Its Job is suspended"),
        _("It goes on as soon as whoever suspended the Job in the cluster resumes it. The time limit has not begun."),
    ),
    Cause.GATED: Remedy(
        _("Held back by a scheduling gate"),
        _("It starts as soon as whatever set the gate on its pod removes it; an administrator of the cluster knows what does."),
    ),
    Cause.NO_ROOM: Remedy(
        _("No node has room"),
        _("It starts by itself as soon as a node has what it requests. Where that never comes, request less or add a node."),
        key="kubernetes.resources",
    ),
    Cause.POD_AWAITED: Remedy(_("Being placed"), _("The cluster is about to make its pod; that takes seconds.")),
    Cause.CONTAINERS_AWAITED: Remedy(
        _("Being started"), _("A node pulls the builder's image, if it does not have it yet, and starts its containers.")
    ),
    # Why it could not be launched, or not start
    Cause.CREDENTIALS_UNREADABLE: Remedy(
        _("Stored credentials can't be read"),
        _("The key that encrypted them is not among secrets.keys any more: restore it, or enter the git user and token anew."),
        field="git_token",
        key="secrets.keys",
    ),
    Cause.LAUNCH_REFUSED: Remedy(
        _("The build was refused"),
        _("The sentence above names what is missing or not allowed. Once that is put right, retry."),
        key="kubernetes.namespace",
    ),
    Cause.LAUNCH_BROKEN: Remedy(
        _("It could not be launched"),
        _("The portal tries again every minute. Its own log names the error; an administrator can see it."),
    ),
    Cause.LAUNCH_LOST: Remedy(
        _("The machine that began it is away"), _("Start the portal on that machine again, then retry."), again=True
    ),
    Cause.WAITED_TOO_LONG: Remedy(
        _("It waited too long"),
        _("The sentence above says what it waited for. Once that is put right, retry; or let builds wait longer."),
        key="build.wait_seconds",
        again=True,
    ),
    Cause.POD_REFUSED: Remedy(
        _("The cluster refuses the pod"),
        _("A policy or quota of the builds' namespace forbids it: label it for Pod Security privileged, or raise its quota."),
        key="kubernetes.namespace",
    ),
    Cause.BUILDER_IMAGE_INVALID: Remedy(
        _("The builder's image has no valid name"), _("Correct the name of the builder's image."), key="build.builder_image"
    ),
    Cause.BUILDER_IMAGE_UNAVAILABLE: Remedy(
        _("The builder's image can't be pulled"),
        _("Check the name of the builder's image, and that the cluster's nodes may pull it."),
        key="build.builder_image",
    ),
    Cause.CONTAINER_REFUSED: Remedy(
        _("A container can't be started"),
        _("The sentence above is the node's own. Mostly the builder's image is not one that can build, or a Secret is missing."),
        key="build.builder_image",
    ),
    Cause.CA_SECRET_MISSING: Remedy(
        _("The certificate's Secret is missing"),
        _("Create the Secret with a ca.crt in the builds' namespace, or empty the repository's CA secret."),
        field="ca_secret",
    ),
    Cause.CA_SECRET_EMPTY: Remedy(
        _("The certificate's Secret has no ca.crt"),
        _("Add the key ca.crt to the Secret, or name another one in the repository's CA secret."),
        field="ca_secret",
    ),
    Cause.VOLUME_MISSING: Remedy(
        _("A volume can't be mounted"), _("See to what the sentence above names in the builds' namespace, then retry."), again=True
    ),
    Cause.SANDBOX_FAILED: Remedy(
        _("The node can't start pods"),
        _("The node's network or container runtime is at fault: see to the node, then retry."),
        again=True,
    ),
    Cause.NEVER_STARTED: Remedy(
        _("It never started"), _("What happened around it, below, may say why. Retry; it is built at the same commit."), again=True
    ),
    # Why the clone failed
    Cause.OUTSIDE_CHECKOUT: Remedy(
        _("A path leads out of the repository"),
        _("Set build path and Dockerfile to places inside the repository; symbolic links may not lead out of it either."),
        field="build_path",
    ),
    Cause.DOCKERFILE_MISSING: Remedy(
        _("There is no such Dockerfile"),
        _("Correct the path of the Dockerfile, as seen from the top of the repository, or commit the file."),
        field="dockerfile",
    ),
    Cause.BUILD_PATH_MISSING: Remedy(
        _("There is no such build path"),
        _("Correct the build path, as seen from the top of the repository, or commit the folder."),
        field="build_path",
    ),
    Cause.COMMIT_GONE: Remedy(
        _("The commit is gone"), _("Somebody rewrote the branch: build the latest instead of retrying this commit."), field="branch"
    ),
    Cause.SUBMODULES_FAILED: Remedy(
        _("A submodule can't be fetched"),
        _("Check the submodules' URLs in .gitmodules, and that the repository's git login may read them."),
        field="git_token",
    ),
    Cause.GIT_CREDENTIALS_REFUSED: Remedy(
        _("Git login refused"),
        _("Enter user and token (or deploy key) anew; the token may have expired or may not read this repository."),
        field="git_token",
    ),
    Cause.GIT_HOST_UNKNOWN: Remedy(
        _("The git server's host key is unknown"), _("Add the server's ssh host key to the known hosts."), key="git.known_hosts"
    ),
    Cause.GIT_CERTIFICATE_UNKNOWN: Remedy(
        _("The git server's certificate is not trusted"),
        _("Name the Secret with its authority's certificate in the repository's CA secret."),
        field="ca_secret",
        key="git.ca_bundle",
    ),
    Cause.GIT_REPOSITORY_NOT_FOUND: Remedy(
        _("The git server has no such repository"),
        _("Correct the git URL. Servers also say so where the login may not see the repository: check user and token."),
        field="repo",
    ),
    Cause.GIT_HOST_UNREACHABLE: Remedy(
        _("The git server can't be reached"),
        _("Check that the server is up and that builds may connect to it, then retry."),
        field="repo",
        again=True,
    ),
    Cause.CLONE_FAILED: Remedy(
        _("The clone failed"),
        _("The end of the step clone in the output says why; the repository's git settings are here."),
        field="repo",
    ),
    # Why the build failed
    Cause.DOCKERFILE_INVALID: Remedy(
        _("The Dockerfile can't be read"),
        _("Correct the line that the sentence above names, commit, and build the latest."),
        field="dockerfile",
    ),
    Cause.BASE_IMAGE_UNAVAILABLE: Remedy(
        _("A base image can't be pulled"),
        _("Check the name and tag after FROM, and that builds may reach that registry and pull from it; then retry."),
        again=True,
    ),
    Cause.STEP_FAILED: Remedy(
        _("A step of the Dockerfile failed"),
        _("The output shows what it printed last. Correct the Dockerfile or the code, commit, and build the latest."),
    ),
    Cause.BUILD_FAILED: Remedy(
        _("The build failed"),
        _("The output is open at the first error. Correct it, commit, and build the latest; or retry, if it was passing."),
        again=True,
    ),
    Cause.OUT_OF_MEMORY: Remedy(
        _("Out of memory"),
        _("Raise the memory limit of builds, or make the build need less: fewer parallel jobs, smaller stages."),
        key="kubernetes.resources",
    ),
    Cause.DISK_FULL: Remedy(
        _("The disk is full"),
        _("Make room on the disk where builds run, or let fewer run at once; then retry."),
        key="build.disk_free_bytes",
        again=True,
    ),
    Cause.DISK_LIMIT: Remedy(
        _("It took more disk than it may"),
        _("Make the build need less (a .dockerignore, smaller stages), or raise the limit."),
        key="build.disk_bytes",
    ),
    Cause.DEADLINE: Remedy(
        _("It took too long"),
        _("Make the build faster (a cache helps), or raise its time limit."),
        key="build.timeout_seconds",
    ),
    # Why the push failed, or proves nothing
    Cause.REGISTRY_UNTRUSTED: Remedy(
        _("The registry's certificate is not trusted"),
        _("Name the Secret with its authority's certificate in the repository's CA secret."),
        field="ca_secret",
    ),
    Cause.REGISTRY_INSECURE: Remedy(
        _("The registry speaks plain HTTP"),
        _("Give the registry a certificate; or, if plain HTTP is meant, allow it."),
        key="registry.insecure",
    ),
    Cause.REGISTRY_UNREACHABLE: Remedy(
        _("The registry can't be reached"),
        _("Check the registry's address and that builds may connect to it, then retry."),
        key="registry.address",
        again=True,
    ),
    Cause.PUSH_REFUSED: Remedy(
        _("Push refused"),
        _("Check the registry's user and password, and that this login may push to this image's name."),
        field="image",
        key="registry.username",
    ),
    Cause.PUSH_FAILED: Remedy(
        _("The push failed"),
        _("The end of the output says what the registry answered; the image's name can be changed here."),
        field="image",
        again=True,
    ),
    Cause.IMAGE_NAME: Remedy(
        _("The image's name can't be used"),
        _("Give the image a name of its own: lower case letters, digits, dots, hyphens and slashes."),
        field="image",
    ),
    Cause.NO_DIGEST: Remedy(
        _("No proof of a pushed image"),
        _("The builder must report the image's digest: see the end of the output, check the builder's image, then retry."),
        key="build.builder_image",
        again=True,
    ),
    Cause.COMMIT_MISMATCH: Remedy(
        _("Another commit was cloned"),
        _("Don't use what was pushed. Check who can change the builder's image, then retry."),
        key="build.builder_image",
    ),
    Cause.DIGEST_MISSING: Remedy(
        _("The registry does not have the image"),
        _("Something removed or replaced it, or the address is that of a mirror: check the registry, then retry."),
        key="registry.address",
        again=True,
    ),
    Cause.DIGEST_UNCONFIRMED: Remedy(
        _("The registry did not confirm the image"),
        _("The portal itself could not ask the registry: check that it can reach it and log in, then retry."),
        key="registry.address",
        again=True,
    ),
    # What ended it from outside
    Cause.CANCELLED: Remedy(_("Cancelled"), _("Its output stays. Retry builds the same commit.")),
    Cause.SUPERSEDED: Remedy(
        _("Superseded"),
        _("A newer check of the same branch was made while this one waited; it can still be retried."),
        field="supersede",
    ),
    Cause.STOPPED: Remedy(
        _("Stopped from outside"), _("Somebody or something ended the process on the machine: retry."), again=True
    ),
    Cause.JOB_DELETED: Remedy(
        _("Its Job was deleted"), _("Somebody or something deleted it in the cluster: find out who, then retry."), again=True
    ),
    Cause.JOB_FAILED: Remedy(
        _("Its Job failed"), _("The sentence above is the cluster's own. Retry, once that is put right."), again=True
    ),
    Cause.POD_DELETED: Remedy(
        _("Its pod was deleted"), _("Somebody or something deleted it in the cluster: find out who, then retry."), again=True
    ),
    Cause.VANISHED: Remedy(
        _("It vanished"), _("Its Job or pod is gone from the cluster without a word, and so is its result: retry."), again=True
    ),
    Cause.NODE_LOST: Remedy(
        _("The node was lost"), _("The cluster is at fault, not the build: retry, on another node."), again=True
    ),
    Cause.NODE_DRAINED: Remedy(
        _("The node was drained"), _("The cluster is at fault, not the build: retry, on another node."), again=True
    ),
    Cause.NODE_REFUSED: Remedy(
        _("The node refused it"),
        _("The cluster is at fault, not the build: retry; if it comes again, see to the node."),
        again=True,
    ),
    Cause.PREEMPTED: Remedy(
        _("It had to make room"), _("Pods of higher priority needed the node: retry, or give builds more room."), again=True
    ),
    Cause.EVICTED: Remedy(
        _("Evicted"),
        _("The node ran short of memory or disk: retry, and request what builds really need, so that they are placed where it is."),
        key="kubernetes.resources",
        again=True,
    ),
    Cause.DISRUPTED: Remedy(_("Ended by the cluster"), _("The cluster is at fault, not the build: retry."), again=True),
    Cause.MACHINE_RESTARTED: Remedy(_("The machine was restarted"), _("The build is not at fault: retry."), again=True),
    Cause.MACHINE_AWAY: Remedy(_("The machine is away"), _("Start the portal on the machine that ran it, and retry."), again=True),
    Cause.MACHINE_BROKEN: Remedy(
        _("The machine could not go on"),
        _("See to what the sentence above names on the machine that builds, then retry."),
        again=True,
    ),
    Cause.PROCESS_LOST: Remedy(
        _("Its process was lost"),
        _("It was killed, or the machine was: see to the machine's memory and disk, then retry."),
        again=True,
    ),
    Cause.FOLDER_GONE: Remedy(
        _("Its folder is gone"), _("Somebody removed it on the machine that builds: retry."), key="build.folder", again=True
    ),
    Cause.OVERDUE: Remedy(
        _("It did not end"),
        _("The node may hang: see to it, then retry."),
        key="build.timeout_seconds",
        again=True,
    ),
    Cause.EVENT_DELETED: Remedy(_("Its event is gone"), _("Another tool deleted it from the database; build the latest.")),
}


def remedy_of(run: Run | None) -> Remedy | None:
    """What to do about a run that waits or has not ended well; None where nothing is known of its cause."""
    return REMEDIES.get(Cause(run.cause)) if run and run.cause in set(Cause) else None


def setting_link(run: Run, remedy: Remedy) -> str:
    """Where the repository's setting can be changed; "" where there is none, or no repository any more."""
    repository = run.event.repository if run.event else None
    if not remedy.field or repository is None:
        return ""
    return f"{reverse('repository-edit', args=[repository.repo_name])}#edit_{remedy.field}"
