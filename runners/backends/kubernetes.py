"""Builds as Jobs on a Kubernetes cluster (SPEC section 4): launched suspended, given their Secret, let go, followed, read.

What the portal's account may do is the Role of SPEC section 7 and no more; everything here works with just that.
"""

from __future__ import annotations

import time
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from runners.backends import manifest
from runners.backends.base import Held, Notice, Piece, Refused, RunState, Unreachable
from runners.backends.causes import Cause
from runners.backends.kubernetes_api import MERGE_PATCH, Api, ApiError, as_backend_error
from runners.backends.kubernetes_events import EventWatch
from runners.backends.kubernetes_informer import Informer, Known, trim_job, trim_pod
from runners.backends.kubernetes_log import Place, follow
from runners.backends.reasons import Seen, container_states, ended, run_state, stuck
from runners.build import BuildSecrets, BuildSpec, JobSettings

_SYNC_SECONDS = 10
_PAGE = "250"  # Jobs in one answer: each carries its scripts, some 15 KB


class KubernetesBackend:
    """A `runners.backends.base.Backend` on one namespace of one cluster."""

    name = "kubernetes"
    place = ""
    launches_in_request = True

    def __init__(self, settings: JobSettings, kubeconfig: str = "", context: str = "") -> None:
        self.settings = settings
        self.api = Api(kubeconfig, context)
        self.informer = Informer(self.api, settings.namespace)
        self._jobs = f"/apis/batch/v1/namespaces/{settings.namespace}/jobs"
        self._core = f"/api/v1/namespaces/{settings.namespace}"
        self.events = EventWatch(self.api, settings.namespace, self.informer.announce_object)

    def containers(self, spec: BuildSpec) -> tuple[str, ...]:
        """See Backend."""
        return manifest.containers(spec)

    def manifest(self, spec: BuildSpec) -> list[dict[str, Any]]:
        """See Backend."""
        return manifest.export(spec, self.settings)

    # Launching

    def launch(self, spec: BuildSpec, secrets: BuildSecrets) -> None:
        """See Backend. Three requests: the suspended Job, its Secret, and the patch that lets it go; each may be repeated."""
        try:
            job = self._create_job(spec)
        except ApiError as error:
            raise as_backend_error(error) from None
        if not job["spec"].get("suspend") and not self.settings.queue:
            return  # another launch let it go, and gave it its Secret before; by now the Secret may have been taken away for good
        try:
            self._create(f"{self._core}/secrets", manifest.build_secret(spec, secrets, job))
        except ApiError as error:
            refusal = as_backend_error(error, "The build's Secret")
            if isinstance(refusal, Refused):
                if not job["spec"].get("suspend"):
                    return  # the queue let it go: another launch gave it its Secret
                self.delete(spec)
            raise refusal from None
        if not self.settings.queue:
            try:
                self.api.request("PATCH", f"{self._jobs}/{spec.name}", {"spec": {"suspend": False}}, content_type=MERGE_PATCH)
            except ApiError as error:
                raise as_backend_error(error) from None

    def _create_job(self, spec: BuildSpec) -> dict[str, Any]:
        """The Job as the API has it, new or launched before. Raises Refused where another holds its name."""
        broken_node = self._node_of(spec.broken_uid) if spec.broken_uid else ""
        job = self._create(self._jobs, manifest.build_job(spec, self.settings, broken_node))
        if job is None:
            job, _ = self.api.request("GET", f"{self._jobs}/{spec.name}")
            if not _is_ours(job, spec):
                raise Refused(f"There is another Job {spec.name} in the namespace, which is not this run's: delete or rename it.")
            if job["metadata"].get("deletionTimestamp"):
                raise Refused(f"The Job {spec.name} was deleted before it could start.")
        return job

    def _node_of(self, run_uid: str) -> str:
        """The name of the node that its pod was on, which may not show yet what it lacks; "" where that can't be told now."""
        try:
            pods, _ = self.api.request("GET", f"{self._core}/pods", query={"labelSelector": f"{manifest.RUN_UID}={run_uid}"})
        except ApiError:
            return ""
        return next((pod["spec"]["nodeName"] for pod in pods["items"] if pod["spec"].get("nodeName")), "")

    def _create(self, path: str, body: dict[str, Any]) -> dict[str, Any] | None:
        """Create an object; None where one of that name exists."""
        try:
            created: dict[str, Any] = self.api.request("POST", path, body)[0]
        except ApiError as error:
            if error.reason == "AlreadyExists":
                return None
            raise
        return created

    def check(self, spec: BuildSpec, secrets: BuildSecrets) -> list[str]:
        """See Backend. A server-side dry run of Job and Secret; the warnings are the API server's own (Pod Security, …)."""
        query = {"dryRun": "All"}
        job = manifest.build_job(spec, self.settings)
        owner = {"metadata": job["metadata"] | {"uid": "00000000-0000-0000-0000-000000000000"}}
        warnings: list[str] = []
        for path, body, what in (
            (self._jobs, job, "The build Job"),
            (f"{self._core}/secrets", manifest.build_secret(spec, secrets, owner), "The build's Secret"),
        ):
            try:
                warnings += self.api.request("POST", path, body, query)[1]
            except ApiError as error:
                if error.reason != "AlreadyExists":
                    raise as_backend_error(error, what) from None
        return warnings

    def delete(self, spec: BuildSpec) -> None:
        """See Backend. The Secret and the pod go with the Job: Background, since an API call alone would orphan them."""
        try:
            job, _ = self.api.request("GET", f"{self._jobs}/{spec.name}")
            if not _is_ours(job, spec):
                return
            body = {"propagationPolicy": "Background", "preconditions": {"uid": job["metadata"]["uid"]}}
            self.api.request("DELETE", f"{self._jobs}/{spec.name}", body)
        except ApiError as error:
            if error.status not in (404, 409):  # 409: another Job has the name by now
                raise as_backend_error(error, "Deleting the Job") from None

    def settled(self, spec: BuildSpec) -> None:
        """See Backend. The Secret goes at once; the Job stays for whoever wants to look at it, until its time to live is over."""
        self._delete_secret(spec)

    def has_left(self, spec: BuildSpec) -> bool:
        """See Backend. The Role lets nobody read Secrets; what deleting it would do also tells whether it is there."""
        return self._delete_secret(spec, {"dryRun": "All"})

    def _delete_secret(self, spec: BuildSpec, query: dict[str, str] | None = None) -> bool:
        """Whether it was there."""
        try:
            self.api.request("DELETE", f"{self._core}/secrets/{spec.name}", query=query)
        except ApiError as error:
            if error.status == 404:
                return False
            raise as_backend_error(error, "Deleting the build's Secret") from None
        return True

    # What is there

    def inventory(self) -> list[Held]:
        """See Backend: all Jobs with the portal's label, page by page."""
        found: list[Held] = []
        query = {"labelSelector": manifest.SELECTOR, "limit": _PAGE}
        while True:
            try:
                answer, _ = self.api.request("GET", self._jobs, query=query)
            except ApiError as error:
                if error.status == 410:
                    raise Unreachable("The cluster's list of Jobs changed too much while it was read.") from None
                raise as_backend_error(error, "Listing the Jobs") from None
            found += [held for job in answer["items"] if (held := _held(job)).run_uid]
            query["continue"] = answer["metadata"].get("continue", "")
            if not query["continue"]:
                return found

    def remove(self, held: Held) -> bool:
        """See Backend. Secret and pod go with the Job, as in `delete`."""
        body = {"propagationPolicy": "Background", "preconditions": {"uid": held.identity}}
        try:
            self.api.request("DELETE", f"{self._jobs}/{held.name}", body)
        except ApiError as error:
            if error.status in (404, 409):  # 409: another Job has the name by now
                return False
            raise as_backend_error(error, "Deleting the Job") from None
        return True

    # Following

    def changes(self, timeout: float) -> set[str] | None:
        """See Backend."""
        self._follow()
        return self.informer.changes(timeout)

    def _follow(self) -> None:
        self.informer.start()
        self.events.start()

    def state(self, spec: BuildSpec) -> RunState:
        """See Backend."""
        self._follow()
        # Where the first list failed already, nobody is kept waiting for the next attempt.
        if not self.informer.wait_synced(0 if self.informer.error else _SYNC_SECONDS):
            raise Unreachable(f"The cluster can't be reached: {self.informer.error or 'it does not answer'}.")
        known = self.informer.get(spec.run_uid) or self._ask(spec)
        if known is None or (known.job is None and known.pod is None):
            lost = "The cluster has no trace of the build."
            return RunState(spec.run_uid, exists=False, finished=True, fatal=True, problem=lost, cause=Cause.VANISHED)
        notices = self.events.of(*(item["metadata"]["uid"] for item in (known.job, known.pod) if item))
        seen = self._seen(spec, known)
        stale, now = bool(self.informer.error), self.informer.as_of  # nobody's patience runs out while nothing is heard
        if stuck(seen, now):
            seen = replace(seen, events=_warnings(notices, known))
        return replace(run_state(spec.run_uid, seen, now), stale=stale, notices=notices)

    def _seen(self, spec: BuildSpec, known: Known) -> Seen:
        return Seen(
            known.job,
            known.pod,
            pod_gone=bool(known.pod_gone),
            job_gone=bool(known.job_gone),
            ca_secret=spec.ca_secret,
            image=spec.image_reference,
        )

    def _ask(self, spec: BuildSpec) -> Known | None:
        """What the API has of a run that the lists do not have (yet); None where it has nothing."""
        try:
            job, _ = self.api.request("GET", f"{self._jobs}/{spec.name}")
            if not _is_ours(job, spec):
                return None
            selector = {"labelSelector": f"{manifest.RUN_UID}={spec.run_uid}"}
            pods = self.api.request("GET", f"{self._core}/pods", query=selector)[0]["items"]
        except ApiError as error:
            if error.status == 404:
                return None
            raise as_backend_error(error) from None
        return Known(trim_job(job), trim_pod(pods[-1]) if pods else None)

    # Reading

    def stream(self, spec: BuildSpec, container: str, cursor: str) -> Iterator[Piece]:
        """See Backend."""
        last: list[Known | None] = [None]

        def place() -> Place | None:
            known = self.informer.get(spec.run_uid) if self.informer.started else None
            last[0] = known = known or self._ask(spec)
            return _place(known, container) if known else None

        def wait(seconds: float) -> None:
            pod = last[0].pod if last[0] else None
            if self.informer.get(spec.run_uid):
                self.informer.wait_for_change(spec.run_uid, pod, seconds)
            else:
                time.sleep(seconds)

        return follow(self.api, self.settings.namespace, container, cursor, place, wait)

    def certificate(self, ca_secret: str) -> str:
        """See Backend."""
        try:
            secret, _ = self.api.request("GET", f"{self._core}/secrets/{quote(ca_secret, safe='')}")
        except ApiError as error:
            if error.status == 403:
                return ""  # the Role names the Secrets that the portal may read
            if error.status == 404:
                raise Refused(f"There is no Secret {ca_secret} in namespace {self.settings.namespace}.") from None
            raise as_backend_error(error, f"Reading the Secret {ca_secret}") from None
        pem = b64decode(secret.get("data", {}).get("ca.crt", "")).decode("utf-8", "replace")
        if not pem:
            raise Refused(f"The Secret {ca_secret} has no ca.crt.")
        return pem

    def close(self) -> None:
        """See Backend."""
        self.informer.close()
        self.events.close()
        self.api.close()


def _warnings(notices: tuple[Notice, ...], known: Known) -> tuple[dict[str, Any], ...]:
    """What may say why nothing starts: warnings about the pod, or about the Job where there is no pod; the latest first."""
    told = [each for each in notices if each.warning and (each.about != "job") == bool(known.pod)]
    return tuple({"reason": each.reason, "message": each.message} for each in reversed(told))


def _is_ours(job: dict[str, Any], spec: BuildSpec) -> bool:
    labels = job["metadata"].get("labels", {})
    return bool(labels.get(manifest.RUN_UID) == spec.run_uid)


def _held(job: dict[str, Any]) -> Held:
    meta = job["metadata"]
    labels = meta.get("labels", {})
    conditions = job.get("status", {}).get("conditions", [])
    end = next((each for each in conditions if each["type"] in ("Complete", "Failed") and each["status"] == "True"), None)
    return Held(
        run_uid=labels.get(manifest.RUN_UID, ""),
        name=meta["name"],
        installation=labels.get(manifest.INSTALLATION, ""),
        repo_name=meta.get("annotations", {}).get(manifest.REPOSITORY, ""),
        created_at=_time(meta.get("creationTimestamp")),
        finished=end is not None,
        finished_at=_time(end.get("lastTransitionTime")) if end else None,
        going="deletionTimestamp" in meta,
        identity=meta["uid"],
    )


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _place(known: Known, container: str) -> Place | None:
    if known.pod is None or known.pod_gone:
        return None if known.pod_gone or known.job_gone else Place("", "", started=False, ended=False)
    states = {state.name: state for state in container_states(known.pod, datetime.now(UTC))}
    state = states.get(container)
    over = ended(known.pod)
    meta = known.pod["metadata"]
    if state is None:
        return Place(meta["name"], meta["uid"], started=False, ended=over)
    return Place(
        meta["name"],
        meta["uid"],
        started=state.started_at is not None,
        ended=over or state.finished_at is not None,
        expected_bytes=state.report.get("bytes"),
    )
