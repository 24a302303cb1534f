"""What the cluster won't take, what it warns of, and launching twice."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from runners.backends.base import Refused, Unreachable
from runners.backends.kubernetes import KubernetesBackend
from runners.build import JobSettings
from tests.support.cluster import BUILDER_IMAGE, DOCKERFILE, SECRETS, Workshop, namespace, portal_rules, wait_until

pytestmark = pytest.mark.needs_cluster

FILES = {"Dockerfile": DOCKERFILE}


@pytest.fixture
def small(tmp_path):
    """A namespace with room for no Job and a warning for what is not restricted."""
    with namespace(tmp_path, "ci-portal-small", {"pod-security.kubernetes.io/warn": "restricted"}) as space:
        space.create("resourcequotas", {"metadata": {"name": "none"}, "spec": {"hard": {"count/jobs.batch": "0"}}})
        yield space


def launched(shop: Workshop, **changes):
    """A launched build that stays suspended, as with Kueue: nothing of it runs."""
    backend = KubernetesBackend(replace(shop.settings, queue="team"), shop.space.kubeconfig)
    spec = shop.spec(FILES, **changes)
    backend.launch(spec, SECRETS)
    return backend, spec


def test_launching_twice_is_harmless(shop: Workshop):
    backend, spec = launched(shop)
    first = shop.space.get("jobs", spec.name)
    backend.launch(spec, SECRETS)
    assert shop.space.get("jobs", spec.name)["metadata"]["uid"] == first["metadata"]["uid"]
    backend.delete(spec)


def test_a_launch_that_was_cut_off_after_the_job_is_completed_by_the_next(shop: Workshop):
    backend, spec = launched(shop)
    shop.space.delete("secrets", spec.name)
    backend.launch(spec, SECRETS)
    assert shop.space.get("secrets", spec.name)
    assert shop.space.get("jobs", spec.name)["spec"]["suspend"] is True
    shop.backend.launch(spec, SECRETS)
    assert shop.space.get("jobs", spec.name)["spec"]["suspend"] is False
    backend.delete(spec)


def test_the_job_of_another_run_with_the_same_name_is_not_adopted(shop: Workshop):
    backend, spec = launched(shop)
    with pytest.raises(Refused, match="another Job"):
        backend.launch(replace(spec, run_uid="f" * 32), SECRETS)
    backend.delete(spec)


def test_the_job_of_another_run_with_the_same_name_is_not_deleted(shop: Workshop):
    backend, spec = launched(shop)
    backend.delete(replace(spec, run_uid="f" * 32))
    assert shop.space.get("jobs", spec.name)
    backend.delete(spec)


def test_the_secret_goes_with_the_job(shop: Workshop):
    backend, spec = launched(shop)
    owner = shop.space.get("secrets", spec.name)["metadata"]["ownerReferences"][0]
    assert owner["uid"] == shop.space.get("jobs", spec.name)["metadata"]["uid"]
    backend.delete(spec)


def test_deleting_what_is_not_there_is_no_error(shop: Workshop):
    shop.backend.delete(shop.spec(FILES))


def test_a_job_in_a_queue_is_left_to_kueue(shop: Workshop):
    backend, spec = launched(shop)
    job = shop.space.get("jobs", spec.name)
    assert job["spec"]["suspend"] is True
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team"
    assert backend.state(spec).waiting == "queued by Kueue in team"
    backend.close()
    shop.backend.delete(spec)


def test_a_quota_is_a_refusal_with_its_reason(shop: Workshop, small):
    backend = KubernetesBackend(JobSettings(small.name, BUILDER_IMAGE, BUILDER_IMAGE), small.kubeconfig)
    with pytest.raises(Refused, match=r"exceeded quota: none, requested: count/jobs\.batch=1"):
        backend.launch(shop.spec(FILES), SECRETS)


def test_a_missing_permission_is_a_refusal_that_names_it(shop: Workshop):
    rules = [rule for rule in portal_rules() if rule["resources"] != ["jobs"]]
    backend = KubernetesBackend(shop.settings, shop.space.account("no-jobs", rules))
    with pytest.raises(Refused, match=f"may not create jobs in namespace {shop.space.name}"):
        backend.launch(shop.spec(FILES), SECRETS)


def test_a_refused_secret_takes_the_job_back(shop: Workshop):
    rules = [rule for rule in portal_rules() if rule["resources"] != ["secrets"]]
    backend = KubernetesBackend(shop.settings, shop.space.account("no-secrets", rules))
    spec = shop.spec(FILES)
    with pytest.raises(Refused, match="may not create secrets"):
        backend.launch(spec, SECRETS)
    job = shop.space.get("jobs", spec.name)
    assert job is None or job["metadata"].get("deletionTimestamp")


def test_a_job_that_another_launch_let_go_is_not_taken_back(shop: Workshop):
    """A launch that was slow comes to a namespace whose quota is full by now: the build runs, and has its Secret."""
    rules = [rule for rule in portal_rules() if rule["resources"] != ["secrets"]]
    late = KubernetesBackend(shop.settings, shop.space.account("late", rules))
    spec = shop.spec(FILES)
    shop.backend.launch(spec, SECRETS)
    late.launch(spec, SECRETS)
    job = shop.space.get("jobs", spec.name)
    assert job is not None
    assert "deletionTimestamp" not in job["metadata"]
    shop.backend.delete(spec)


def test_a_launch_that_comes_after_the_secret_was_taken_away_makes_no_other(shop: Workshop):
    """A watcher that stood still, and wakes when the run is over: nobody would take away what it makes now."""
    spec = shop.spec(FILES)
    shop.backend.launch(spec, SECRETS)
    shop.backend.settled(spec)
    shop.backend.launch(spec, SECRETS)
    assert shop.space.get("secrets", spec.name) is None
    shop.backend.delete(spec)


def test_a_missing_namespace_is_a_refusal(shop: Workshop):
    backend = KubernetesBackend(replace(shop.settings, namespace="no-such-namespace"), shop.backend.api.kubeconfig)
    with pytest.raises(Refused, match="may not create jobs in namespace no-such-namespace"):
        backend.launch(shop.spec(FILES), SECRETS)


def test_a_dry_run_creates_nothing_and_has_no_warning_in_a_privileged_namespace(shop: Workshop):
    spec = shop.spec(FILES)
    assert shop.backend.check(spec, SECRETS) == []
    assert shop.space.get("jobs", spec.name) is None
    assert shop.space.get("secrets", spec.name) is None


def test_a_dry_run_passes_on_what_the_api_server_warns_of(shop: Workshop, small):
    small.delete("resourcequotas", "none")
    backend = KubernetesBackend(JobSettings(small.name, BUILDER_IMAGE, BUILDER_IMAGE), small.kubeconfig)
    warnings = backend.check(shop.spec(FILES), SECRETS)
    assert any('would violate PodSecurity "restricted:latest"' in warning for warning in warnings)


def test_a_dry_run_tells_of_an_invalid_job(shop: Workshop):
    settings = replace(shop.settings, resources={"limits": {"memory": "plenty"}})
    backend = KubernetesBackend(settings, shop.space.kubeconfig)
    with pytest.raises(Refused, match="quantities must match"):
        backend.check(shop.spec(FILES), SECRETS)


def test_a_pod_that_admission_refuses_is_told(shop: Workshop, tmp_path):
    with namespace(tmp_path, "ci-portal-strict", {"pod-security.kubernetes.io/enforce": "restricted"}) as space:
        backend = KubernetesBackend(JobSettings(space.name, BUILDER_IMAGE, BUILDER_IMAGE), space.kubeconfig)
        spec = shop.spec(FILES)
        backend.launch(spec, SECRETS)
        state = wait_until(backend, spec, lambda state: bool(state.problem), 30)
        backend.close()
    assert 'violates PodSecurity "restricted:latest"' in state.problem


def test_a_cluster_that_is_away_is_unreachable(shop: Workshop, tmp_path):
    away = tmp_path / "away.kubeconfig"
    away.write_text(re.sub(r"(server: [\"']?https://[\d.]+:)\d+", r"\g<1>1", Path(shop.space.kubeconfig).read_text()))
    backend = KubernetesBackend(shop.settings, str(away))
    with pytest.raises(Unreachable, match="Connection refused"):
        backend.launch(shop.spec(FILES), SECRETS)


def test_a_login_that_the_cluster_does_not_know_is_unreachable(shop: Workshop, tmp_path):
    other = tmp_path / "other.kubeconfig"
    other.write_text(re.sub(r"token: \S+", "token: not-a-token", Path(shop.space.kubeconfig).read_text()))
    with pytest.raises(Unreachable, match="renew its kubeconfig"):
        KubernetesBackend(shop.settings, str(other)).launch(shop.spec(FILES), SECRETS)


def test_a_certificate_that_the_role_does_not_name_reads_as_nothing(shop: Workshop):
    assert shop.backend.certificate("test-ca") == ""


def test_a_certificate_that_the_role_names_is_read(shop: Workshop):
    named = {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["test-ca", "no-such-ca"], "verbs": ["get"]}
    backend = KubernetesBackend(shop.settings, shop.space.account("reads-ca", [*portal_rules(), named]))
    assert backend.certificate("test-ca") == shop.git.ca_pem
    with pytest.raises(Refused, match="There is no Secret no-such-ca"):
        backend.certificate("no-such-ca")
