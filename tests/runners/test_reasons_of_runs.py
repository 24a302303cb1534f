"""What Job, Pod and Events say of a run. The dicts are cut down from what a cluster of version 1.35 served."""

import json
from base64 import b64encode
from datetime import UTC, datetime, timedelta

import pytest

from runners.backends.reasons import Seen, run_state, stuck

NOW = datetime(2026, 1, 2, 3, 10, 0, tzinfo=UTC)
DIGEST = "sha256:" + "a" * 64


def ago(seconds: float) -> str:
    return (NOW - timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


def running(name="build"):
    return {"name": name, "image": "builder:1", "state": {"running": {"startedAt": ago(60)}}}


def waiting(name="build", reason="PodInitializing", message=""):
    return {"name": name, "image": "builder:1", "state": {"waiting": {"reason": reason, "message": message}}}


def ended(name="build", code=0, reason="Completed", tail="", **report):
    if tail:
        report["tail"] = b64encode(tail.encode()).decode()
    message = json.dumps({"exit": code, "bytes": 10, "cksum": 99, **report})
    times = {"startedAt": ago(60), "finishedAt": ago(5)}
    return {
        "name": name,
        "image": "builder:1",
        "state": {"terminated": {"exitCode": code, "reason": reason, "message": message, **times}},
    }


CLONED = ended("clone", commit="c0ffee")


def pod(*containers, phase="Running", scheduled=120.0, meta=None, **status):
    *before, last = containers or (waiting("clone"), waiting("build"))
    conditions = status.pop("conditions", [{"type": "PodScheduled", "status": "True", "lastTransitionTime": ago(scheduled)}])
    return {
        "metadata": {"name": "run-x", "uid": "p1", "creationTimestamp": ago(scheduled), **(meta or {})},
        "status": {
            "phase": phase,
            "conditions": conditions,
            "initContainerStatuses": before,
            "containerStatuses": [last],
            **status,
        },
    }


def job(*conditions, suspend=False, labels=None, started=120.0, limit=3600):
    return {
        "metadata": {"name": "run-x", "uid": "j1", "creationTimestamp": ago(started), "labels": labels or {}},
        "spec": {"suspend": suspend, "activeDeadlineSeconds": limit},
        "status": {"startTime": ago(started), "conditions": [{"status": "True", **condition} for condition in conditions]},
    }


JOB = job()


def state(pod=None, job=JOB, events=(), **seen):
    """What is said; whatever stands in a run's way has a cause besides its sentence."""
    found = run_state("uid", Seen(job, pod, tuple(events), **seen), NOW)
    assert (found.cause is None) == (not found.problem and not found.waiting)
    return found


def test_a_digest_and_exit_code_0_is_the_end_without_a_problem():
    found = state(pod(CLONED, ended(digest=DIGEST), phase="Succeeded"))
    assert (found.finished, found.problem, found.fatal, found.disrupted) == (True, "", False, False)


def test_it_is_finished_when_its_containers_are_whatever_the_job_says():
    assert state(pod(CLONED, ended(digest=DIGEST), phase="Running")).finished


def test_a_running_container_is_neither_finished_nor_a_problem():
    found = state(pod(CLONED, running()))
    assert (found.finished, found.problem, found.waiting) == (False, "", "")


def test_exit_code_0_without_a_digest_is_no_success():
    found = state(pod(CLONED, ended(), phase="Succeeded"))
    assert "digest" in found.problem
    assert found.fatal


def test_out_of_memory_is_told_where_the_exit_code_is_0_too():
    found = state(pod(CLONED, ended(code=0, reason="OOMKilled"), phase="Succeeded"))
    assert found.problem.startswith("Out of memory in build")


def test_a_container_that_could_report_nothing_is_told_by_its_exit_code():
    killed = ended(code=137, reason="Error")
    killed["state"]["terminated"]["message"] = ""
    found = state(pod(CLONED, killed, phase="Failed"))
    assert found.problem.startswith("Out of memory")
    assert found.containers[1].report == {}


def test_a_clone_that_failed_ends_the_run_before_the_job_knows():
    refused = ended("clone", 128, "Error", "fatal: Authentication failed for 'https://git.example.org/app.git/'")
    found = state(pod(refused, waiting()))
    assert found.finished
    assert found.containers[0].report["error"] == "git_credentials_refused"
    assert "credentials" in found.problem


def test_the_deadline_is_told_from_the_jobs_condition():
    found = state(
        pod(CLONED, ended(code=143, error="stopped"), phase="Failed"), job({"type": "FailureTarget", "reason": "DeadlineExceeded"})
    )
    assert found.problem == "The build did not end within its time limit of 3600 s and was stopped."


def test_the_deadline_is_told_before_the_job_has_its_condition():
    deleted = {"deletionTimestamp": ago(-30), "deletionGracePeriodSeconds": 30}
    found = state(pod(CLONED, ended(code=143, error="stopped"), phase="Failed", meta=deleted), job(limit=120))
    assert "time limit of 120 s" in found.problem


def test_a_pod_that_someone_deleted_is_told():
    deleted = {"deletionTimestamp": ago(-30), "deletionGracePeriodSeconds": 30}
    found = state(pod(CLONED, ended(code=143, error="stopped"), phase="Failed", meta=deleted))
    assert found.problem == "The pod was deleted before the build ended."
    assert not found.disrupted


STOPPED = 'Error: building at STEP "RUN make": exit status 1'


def test_a_step_that_a_deleted_pod_interrupted_is_not_told_as_failed():
    """buildah ends with 1, not 143, and its last words are of the step that it was at."""
    deleted = {"deletionTimestamp": ago(-30), "deletionGracePeriodSeconds": 30}
    found = state(pod(CLONED, ended(code=1, tail=STOPPED, error="stopped"), phase="Failed", meta=deleted))
    assert found.problem == "The pod was deleted before the build ended."


def test_a_build_that_its_node_stopped_by_itself_did_not_fail_by_itself():
    """As a kubelet does that was started anew while its disk is full."""
    found = state(pod(CLONED, ended(code=1, tail=STOPPED, error="stopped"), phase="Failed"))
    assert found.problem == "The node stopped the build, although nobody had deleted its pod."
    assert found.disrupted


def test_a_pod_that_ended_because_its_job_was_deleted_is_told_so():
    deleted = {"deletionTimestamp": ago(-30), "deletionGracePeriodSeconds": 30}
    stopped = ended(code=1, tail=STOPPED, error="stopped")
    found = state(pod(CLONED, stopped, phase="Failed", meta=deleted), job_gone=True)
    assert found.problem == "The Job was deleted from the cluster before the build ended."


def test_a_pod_that_vanished_is_no_success():
    found = state(pod(CLONED, running()), pod_gone=True)
    assert found.finished
    assert "deleted" in found.problem


def test_a_job_that_vanished_is_told():
    found = state(pod(CLONED, running()), job_gone=True)
    assert (found.exists, found.finished, found.fatal) == (False, True, True)
    assert "deleted" in found.problem


def test_a_build_that_succeeded_stays_so_when_its_job_goes():
    found = state(pod(CLONED, ended(digest=DIGEST), phase="Succeeded"), job_gone=True)
    assert found.problem == ""


def test_what_the_cluster_ended_is_disrupted():
    disruption = {"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}
    found = state(pod(CLONED, ended(code=143, error="stopped"), phase="Failed", conditions=[disruption]))
    assert found.disrupted
    assert "higher priority" in found.problem


def test_a_node_under_pressure_is_disruption_but_ones_own_disk_limit_is_not():
    pressure = state(
        pod(CLONED, ended(code=137), phase="Failed", reason="Evicted", message="The node was low on resource: memory. ")
    )
    own = state(
        pod(
            CLONED,
            ended(code=137),
            phase="Failed",
            reason="Evicted",
            message='Usage of EmptyDir volume "home" exceeds the limit "1Gi". ',
        )
    )
    assert pressure.disrupted
    assert not own.disrupted
    assert "more disk than it may" in own.problem


def test_a_node_that_does_not_answer_is_given_up():
    told = {"deletionTimestamp": ago(90)}
    found = state(pod(CLONED, running(), meta=told))
    assert (found.finished, found.disrupted, found.fatal) == (True, True, True)


def test_a_pod_that_is_ending_is_given_its_time():
    assert not state(pod(CLONED, running(), meta={"deletionTimestamp": ago(30)})).finished


def test_an_image_that_can_not_be_pulled_is_fatal_after_a_minute():
    cause = 'ErrImagePull: failed to pull and unpack image "x:1": failed to resolve reference "x:1": not found'
    for seconds, fatal in ((30, False), (70, True)):
        found = state(pod(waiting("clone", "ImagePullBackOff", cause), waiting(), phase="Pending", scheduled=seconds))
        assert found.problem == 'The image builder:1 of clone can\'t be pulled: "x:1": not found.'
        assert found.fatal is fatal
        assert not found.finished


def test_the_minute_of_a_later_image_starts_when_the_container_before_it_ended():
    found = state(pod(CLONED, waiting("build", "ErrImagePull", "not found"), scheduled=500))
    assert found.problem
    assert not found.fatal


def test_an_invalid_image_name_is_fatal_at_once():
    found = state(pod(waiting("clone", "InvalidImageName", "couldn't parse"), waiting(), phase="Pending", scheduled=1))
    assert found.fatal


def test_a_missing_ca_secret_is_named_and_fatal_after_a_minute():
    event = {"reason": "FailedMount", "message": 'MountVolume.SetUp failed for volume "ca" : secret "company-ca" not found'}
    for seconds, fatal in ((10, False), (70, True)):
        found = state(pod(phase="Pending", scheduled=seconds), events=[event], ca_secret="company-ca")
        assert found.problem.startswith("There is no Secret company-ca")
        assert found.fatal is fatal


def test_a_ca_secret_without_its_key_is_named():
    event = {
        "reason": "FailedMount",
        "message": 'MountVolume.SetUp failed for volume "ca" : references non-existent secret key: ca.crt',
    }
    found = state(pod(phase="Pending"), events=[event], ca_secret="company-ca")
    assert found.problem == "The Secret company-ca that ca_secret names has no ca.crt: add it."


def test_a_late_cache_of_the_kubelet_hides_no_cause():
    late = {
        "reason": "FailedMount",
        "message": 'MountVolume.SetUp failed for volume "ca" : failed to sync secret cache: timed out waiting for the condition',
    }
    empty = {
        "reason": "FailedMount",
        "message": 'MountVolume.SetUp failed for volume "ca" : references non-existent secret key: ca.crt',
    }
    found = state(pod(phase="Pending"), events=[late, empty], ca_secret="company-ca")
    assert found.problem == "The Secret company-ca that ca_secret names has no ca.crt: add it."
    found = state(pod(phase="Pending"), events=[late], ca_secret="company-ca")
    assert found.problem.startswith("A volume of the build can't be mounted: MountVolume.SetUp failed")


def test_no_room_on_any_node_is_waiting_never_fatal():
    full = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available.",
    }
    found = state(pod(phase="Pending", conditions=[full], scheduled=3000))
    assert found.waiting == "no node has room: 0/1 nodes are available: 1 Insufficient cpu"
    assert not found.fatal


def test_a_pod_that_is_refused_is_fatal_after_a_minute():
    event = {
        "reason": "FailedCreate",
        "message": 'Error creating: pods "run-x-1" is forbidden: violates PodSecurity "restricted:latest": seccompProfile',
    }
    for seconds, fatal in ((10, False), (70, True)):
        found = state(None, job(started=seconds), [event])
        assert found.problem == 'The cluster refuses the build\'s pod: violates PodSecurity "restricted:latest": seccompProfile.'
        assert found.fatal is fatal


def test_a_queued_job_says_where():
    found = state(None, job(suspend=True, labels={"kueue.x-k8s.io/queue-name": "team"}))
    assert found.waiting == "queued by Kueue in team"


def test_a_job_that_failed_without_a_pod_is_finished():
    found = state(
        None, job({"type": "Failed", "reason": "BackoffLimitExceeded", "message": "Job has reached the specified backoff limit"})
    )
    assert (found.finished, found.fatal) == (True, True)
    assert "backoff limit" in found.problem


def test_events_are_asked_for_only_where_nothing_else_says_why():
    assert stuck(Seen(job(started=10), None), NOW)
    assert stuck(Seen(job(), pod(phase="Pending", scheduled=10)), NOW)
    assert not stuck(Seen(job(started=1), None), NOW)
    assert not stuck(Seen(job(suspend=True), None), NOW)
    assert not stuck(Seen(job(), pod(CLONED, running())), NOW)


def test_the_report_keeps_no_last_lines():
    failed = ended(code=1, reason="Error", tail="t0ken")
    found = state(pod(CLONED, failed, phase="Failed"))
    assert "tail" not in found.containers[1].report


def test_a_report_that_is_no_report_is_none():
    broken = ended(code=1)
    broken["state"]["terminated"]["message"] = '{"bytes":1,'
    assert state(pod(CLONED, broken, phase="Failed")).containers[1].report == {}


@pytest.mark.parametrize(
    "message",
    [
        "[1]",
        "[" * 4000,
        '{"tail": 5}',
        '{"bytes": 1000000000000000000000000000000, "cksum": -1}',
        '{"bytes": {"a": 1}, "cksum": true, "digest": ["sha256:0"], "why": 7}',
    ],
)
def test_what_can_be_no_report_says_nothing(message):
    forged = ended()
    forged["state"]["terminated"]["message"] = message
    assert state(pod(ended("clone"), forged)).containers[1].report == {}
