"""What a Job, its Pod and their Events say about a run: pure, from dicts as the API serves them to a RunState.

Settled from the pod: the Job's condition comes a second or two after the pod has ended (seen on 1.35).
"""

from __future__ import annotations

import json
import re
from base64 import b64decode
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from runners.backends.base import ContainerState, RunState, sound
from runners.backends.causes import Cause, of_report
from runners.backends.diagnosis import diagnose

#: How long a problem that might still go away (an image that is just being pushed, a Secret just being made) is waited for.
PATIENCE = timedelta(seconds=60)
#: How long a pod may take to come and start before Events are asked why.
STUCK = timedelta(seconds=3)
#: How long after its grace period a pod that was told to end may stay: then its node is lost.
LOST = timedelta(seconds=60)

Dict = dict[str, Any]

_DISRUPTIONS = {
    "DeletionByTaintManager": (Cause.NODE_LOST, "The node that ran the build was lost."),
    "DeletionByPodGC": (Cause.NODE_LOST, "The node that ran the build is gone."),
    "EvictionByEvictionAPI": (Cause.NODE_DRAINED, "The node that ran the build was drained."),
    "PreemptionByScheduler": (Cause.PREEMPTED, "The build had to make room for a pod of higher priority."),
    "TerminationByKubelet": (Cause.EVICTED, "The node ended the build: {message}."),
}
_LATE_CACHE = "cache: timed out waiting for the condition"
_CANT_START = ("ErrImagePull", "ImagePullBackOff", "CreateContainerConfigError", "CreateContainerError", "RunContainerError")


@dataclass(frozen=True, slots=True)
class Seen:
    """All that is known of one run's objects."""

    job: Dict | None
    pod: Dict | None
    events: tuple[Dict, ...] = ()
    pod_gone: bool = False  # `pod` is the last that was seen of it
    job_gone: bool = False
    ca_secret: str = ""
    image: str = "the image"


@dataclass(frozen=True, slots=True)
class Why:
    """Why a run did not end well, or does not start."""

    cause: Cause
    sentence: str
    disrupted: bool = False  # the cluster did it, not the build
    hopeless: bool = False  # waiting changes nothing


def run_state(run_uid: str, seen: Seen, now: datetime) -> RunState:
    """The run's state at `now` (UTC)."""
    containers = container_states(seen.pod, now, seen.image)
    began = _time((seen.job or {}).get("status", {}).get("startTime"))
    placed = _scheduled_at(seen.pod) if seen.pod else None
    state = RunState(run_uid, exists=not seen.job_gone, containers=containers, began=began, placed_at=placed)
    if _succeeded(containers):
        return replace(state, finished=True)
    if seen.job_gone and not ended(seen.pod):
        return _over(state, Why(Cause.JOB_DELETED, "The Job was deleted from the cluster before the build ended."))
    if seen.pod is None:
        return _without_pod(state, seen, now)
    if ended(seen.pod) or seen.pod_gone:
        return _over(state, _why_failed(seen, containers))
    if _lost(seen.pod, now):
        return _over(state, Why(Cause.NODE_LOST, "The node that ran the build does not answer any more.", disrupted=True))
    if any(container.started_at and not container.finished_at for container in containers):
        return state
    return _not_started(state, seen, now)


def _over(state: RunState, why: Why) -> RunState:
    return replace(state, finished=True, fatal=True, problem=why.sentence, cause=why.cause, disrupted=why.disrupted)


def stuck(seen: Seen, now: datetime) -> bool:
    """Whether only Events can say why nothing starts: no pod though the Job may have one, or a placed pod without a container."""
    job, pod = seen.job or {}, seen.pod
    if seen.job_gone or seen.pod_gone or job.get("spec", {}).get("suspend"):
        return False
    if pod is None:
        since = _time(job.get("status", {}).get("startTime"))
        finished = any(
            c.get("status") == "True" and c.get("type") != "Suspended" for c in job.get("status", {}).get("conditions", [])
        )
        return since is not None and not finished and now > since + STUCK
    since = _scheduled_at(pod)
    return (
        since is not None
        and now > since + STUCK
        and not ended(pod)
        and not any(container.started_at for container in container_states(pod, now))
    )


def container_states(pod: Dict | None, now: datetime, image: str = "the image") -> tuple[ContainerState, ...]:
    """The pod's containers in the order they run; `report` has no tail any more, but what follows from it."""
    status = (pod or {}).get("status", {})
    return tuple(
        _container_state(container, now, image)
        for container in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]
    )


def _container_state(status: Dict, now: datetime, image: str) -> ContainerState:
    state, name = status.get("state", {}), status["name"]
    over, running, waiting = state.get("terminated"), state.get("running"), state.get("waiting")
    if not over:
        reason = str((waiting or {}).get("reason", ""))
        return ContainerState(name, started_at=_time((running or {}).get("startedAt")), reason=reason)
    code = over.get("exitCode")
    return ContainerState(
        name,
        started_at=_time(over.get("startedAt")),
        finished_at=_time(over.get("finishedAt")) or now,  # a container whose node lost track of it has neither
        exit_code=code,
        reason=str(over.get("reason", "")),
        report=_report(name, over.get("message", ""), code, image),
    )


def _report(container: str, message: str, exit_code: int | None, image: str) -> Dict:
    """The container's termination message, its last lines turned into `error`, `step` and the sentence `why`."""
    try:
        report = sound(json.loads(message))
        tail = b64decode(report.pop("tail", "")).decode("utf-8", "replace")
    except (ValueError, RecursionError):
        return {}
    if exit_code:
        found = diagnose(container, report.get("error", ""), tail, exit_code, image)
        stopped = report.get("error") == "stopped"  # from outside: what it was doing then is not why it failed
        report |= {"error": "stopped" if stopped else found.error, "why": found.sentence} | (
            {"step": found.step} if found.step else {}
        )
    return dict(report)


def _succeeded(containers: tuple[ContainerState, ...]) -> bool:
    """All ended with exit code 0, and the last reported a digest: an exit code alone proves nothing."""
    return bool(containers) and all(c.exit_code == 0 for c in containers) and "digest" in containers[-1].report


def ended(pod: Dict | None) -> bool:
    """Nothing of the pod runs any more, and nothing will (it never restarts a container)."""
    status = (pod or {}).get("status", {})
    if status.get("phase") in ("Succeeded", "Failed"):
        return True
    before = [c.get("state", {}).get("terminated") for c in status.get("initContainerStatuses", [])]
    last = [c.get("state", {}).get("terminated") for c in status.get("containerStatuses", [])]
    return any(end and end.get("exitCode") for end in before) or (bool(last) and all(last))


def _lost(pod: Dict, now: datetime) -> bool:
    """It was told to end long ago and has not: with podReplacementPolicy Failed it would hold its Job for ever."""
    deleted = _time(pod["metadata"].get("deletionTimestamp"))  # the grace period is counted in already
    return deleted is not None and now > deleted + LOST


def _why_failed(seen: Seen, containers: tuple[ContainerState, ...]) -> Why:
    """Of a pod that ended without success."""
    pod = seen.pod or {}
    status = pod.get("status", {})
    disruption = _condition(pod, "DisruptionTarget")
    if disruption:
        otherwise = (Cause.DISRUPTED, "The cluster ended the build: {message}.")
        cause, sentence = _DISRUPTIONS.get(disruption.get("reason", ""), otherwise)
        told = _plain(disruption.get("message") or status.get("message", ""))
        return Why(cause, sentence.format(message=told), disrupted=True)
    if _past_deadline(seen):
        limit = (seen.job or {}).get("spec", {}).get("activeDeadlineSeconds")
        waited = "" if any(c.started_at for c in containers) else f" {_waiting_for(pod, seen)}".rstrip()
        return Why(Cause.DEADLINE, f"The build did not end within its time limit of {limit} s and was stopped.{waited}")
    if status.get("reason"):  # the kubelet ended or refused the pod as a whole
        return _pod_reason(status)
    return _container_reason(seen, containers)


def _container_reason(seen: Seen, containers: tuple[ContainerState, ...]) -> Why:
    deleted = bool((seen.pod or {}).get("metadata", {}).get("deletionTimestamp")) or seen.pod_gone
    for container in containers:
        if container.reason == "OOMKilled" or (container.exit_code == 137 and not deleted):
            sentence = f"Out of memory in {container.name}: give builds more (kubernetes.resources), or make them need less."
            return Why(Cause.OUT_OF_MEMORY, sentence)
    for container in containers:
        stopped = container.report.get("error") == "stopped"
        if deleted and (stopped or container.exit_code == 143):
            break
        if stopped:  # SIGTERM came from outside, as from a kubelet that was started anew and does not want the pod any more
            told = "The node stopped the build, although nobody had deleted its pod."
            return Why(Cause.DISRUPTED, told, disrupted=True)
        if container.exit_code:
            sentence = container.report.get("why") or f"{container.name} failed with exit code {container.exit_code}."
            return Why(of_report(container.name, container.report.get("error")), sentence)
    if deleted and seen.job_gone:
        return Why(Cause.JOB_DELETED, "The Job was deleted from the cluster before the build ended.")
    if deleted:
        return Why(Cause.POD_DELETED, "The pod was deleted before the build ended.")
    return Why(Cause.NO_DIGEST, "The build ended without telling the digest of its image, so it does not count as pushed.")


def _pod_reason(status: Dict) -> Why:
    reason, message = status["reason"], _plain(status.get("message", ""))
    if reason == "Evicted":
        own = re.search(r"exceeds the (?:total )?limit|exceeds the limit|exceeded its local ephemeral storage limit", message, re.I)
        if own:
            return Why(Cause.DISK_LIMIT, f"The build was evicted, it used more disk than it may: {message}.")
        return Why(Cause.EVICTED, f"The node evicted the build: {message}.", disrupted=True)
    return Why(Cause.NODE_REFUSED, f"The node did not run the build ({reason}): {message}.", disrupted=True)


def _past_deadline(seen: Seen) -> bool:
    """By the Job's condition, or before that has come by when the Job controller deleted the pod."""
    job = seen.job or {}
    if any(c.get("reason") == "DeadlineExceeded" for c in job.get("status", {}).get("conditions", []) if c.get("status") == "True"):
        return True
    meta = (seen.pod or {}).get("metadata", {})
    started, limit = _time(job.get("status", {}).get("startTime")), job.get("spec", {}).get("activeDeadlineSeconds")
    deleted = _time(meta.get("deletionTimestamp"))
    if not (started and limit and deleted):
        return False
    told = deleted - timedelta(seconds=meta.get("deletionGracePeriodSeconds") or 0)
    return told >= started + timedelta(seconds=limit - 1)


def _without_pod(state: RunState, seen: Seen, now: datetime) -> RunState:
    job = seen.job or {}
    for condition in job.get("status", {}).get("conditions", []):
        if condition.get("status") == "True" and condition.get("type") in ("Failed", "FailureTarget", "Complete"):
            why = _why_failed(seen, ())
            if condition.get("reason") not in ("DeadlineExceeded", None):
                told = f"The Job ended without a pod ({condition['reason']}): {_plain(condition.get('message', ''))}."
                why = replace(why, cause=Cause.JOB_FAILED, sentence=told)
            return _over(state, why)
    if job.get("spec", {}).get("suspend"):
        queue = job.get("metadata", {}).get("labels", {}).get("kueue.x-k8s.io/queue-name")
        if queue:
            return replace(state, queued=True, cause=Cause.QUEUED, waiting=f"queued by Kueue in {queue}")
        return replace(state, queued=True, cause=Cause.SUSPENDED, waiting="the Job is suspended")
    refused = next((event for event in seen.events if event.get("reason") == "FailedCreate"), None)
    if refused:
        problem = f"The cluster refuses the build's pod: {_refusal(refused.get('message', ''))}."
        since = _time(job.get("status", {}).get("startTime")) or _time(job.get("metadata", {}).get("creationTimestamp"))
        return _held_up(state, Why(Cause.POD_REFUSED, problem), since, now)
    return replace(state, cause=Cause.POD_AWAITED, waiting="waiting for the cluster to make its pod")


def _not_started(state: RunState, seen: Seen, now: datetime) -> RunState:
    """A pod of which nothing runs now: what it waits for, and whether that can still come."""
    pod = seen.pod or {}
    if scheduled := _condition(pod, "PodScheduled", "False"):
        gated = scheduled.get("reason") == "SchedulingGated"
        return replace(state, cause=Cause.GATED if gated else Cause.NO_ROOM, waiting=_waiting_for(pod, seen))
    since = max(filter(None, [*(c.finished_at for c in state.containers), _scheduled_at(pod)]), default=None)
    if why := _start_problem(pod, seen):
        return _held_up(state, why, since, now)
    if state.started_at:
        return state
    return replace(state, cause=Cause.CONTAINERS_AWAITED, waiting="its containers are being started")


def _held_up(state: RunState, why: Why, since: datetime | None, now: datetime) -> RunState:
    """Something stands in its way that might still go: it is waited for a while."""
    fatal = why.hopeless or _patience_ran_out(since, now)
    return replace(state, problem=why.sentence, waiting=why.sentence, cause=why.cause, fatal=fatal)


def _start_problem(pod: Dict, seen: Seen) -> Why | None:
    """Why no container starts; None where nothing is known."""
    status = pod.get("status", {})
    for container in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]:
        waiting = container.get("state", {}).get("waiting") or {}
        name, image = container["name"], container.get("image", "")
        reason, message = waiting.get("reason", ""), _plain(waiting.get("message", ""))
        if reason == "InvalidImageName":
            return Why(Cause.BUILDER_IMAGE_INVALID, f"The image name of {name} is invalid: {image}.", hopeless=True)
        if reason in ("ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "ImageInspectError"):
            said = message.rpartition("failed to resolve reference ")[2] or message
            return Why(Cause.BUILDER_IMAGE_UNAVAILABLE, f"The image {image} of {name} can't be pulled: {said}.")
        if reason in _CANT_START:
            return Why(Cause.CONTAINER_REFUSED, f"{name} can't be started: {message}.")
    # A kubelet whose cache of Secrets is late says so and tries again: what it says besides, later or before, is the cause.
    for event in sorted(seen.events, key=lambda event: _LATE_CACHE in event.get("message", "")):
        if event.get("reason") in ("FailedMount", "FailedAttachVolume"):
            return _mount_problem(event.get("message", ""), seen)
        if event.get("reason") == "FailedCreatePodSandBox":
            return Why(Cause.SANDBOX_FAILED, f"The node can't start the pod: {_plain(event.get('message', ''))}.")
    return None


def _mount_problem(message: str, seen: Seen) -> Why:
    if seen.ca_secret and 'volume "ca"' in message:
        if "non-existent secret key" in message:
            return Why(Cause.CA_SECRET_EMPTY, f"The Secret {seen.ca_secret} that ca_secret names has no ca.crt: add it.")
        if "not found" in message:
            where = f"There is no Secret {seen.ca_secret} in the namespace of the builds"
            return Why(Cause.CA_SECRET_MISSING, f"{where}: create it with a ca.crt, or empty ca_secret.")
    return Why(Cause.VOLUME_MISSING, f"A volume of the build can't be mounted: {_plain(message)}.")


def _waiting_for(pod: Dict, seen: Seen) -> str:
    scheduled = _condition(pod, "PodScheduled", "False")
    if scheduled and scheduled.get("reason") == "SchedulingGated":
        return "held back by a scheduling gate"
    if scheduled:
        return f"no node has room: {_plain(scheduled.get('message', '').partition(' preemption:')[0])}"
    why = _start_problem(pod, seen)
    return why.sentence if why else ""


def _refusal(message: str) -> str:
    return _plain(re.sub(r'^Error creating: (pods "[^"]*" is forbidden: )?', "", message))


def _condition(pod: Dict, kind: str, status: str = "True") -> Dict | None:
    conditions = pod.get("status", {}).get("conditions", [])
    return next((c for c in conditions if c.get("type") == kind and c.get("status") == status), None)


def _scheduled_at(pod: Dict) -> datetime | None:
    return _time((_condition(pod, "PodScheduled") or {}).get("lastTransitionTime"))


def _patience_ran_out(since: datetime | None, now: datetime) -> bool:
    return since is not None and now > since + PATIENCE


def _plain(message: str) -> str:
    return " ".join(message.split()).rstrip(".")[:300]


def _time(text: Any) -> datetime | None:
    return datetime.fromisoformat(text).astimezone(UTC) if text else None
