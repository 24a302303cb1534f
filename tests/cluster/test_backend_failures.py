"""Why a build failed, as the real cluster shows it: one sentence that a person understands."""

from dataclasses import replace

import pytest

from runners.backends.kubernetes import KubernetesBackend
from runners.build import BuildSecrets
from tests.support.cluster import BUILDER_IMAGE, DOCKERFILE, SECRETS, Workshop, follow_to_end, wait_until
from tests.support.git_server import BareRepository, Symlink

pytestmark = pytest.mark.needs_cluster

HANGS = {"Dockerfile": DOCKERFILE + "RUN echo started; /bin/busybox sleep 100\n"}


@pytest.mark.parametrize("builder", ["buildkit", "buildah"])
def test_it_names_the_step_of_the_dockerfile_that_failed(shop: Workshop, builder: str):
    built = shop.build(shop.spec({"Dockerfile": DOCKERFILE + "RUN echo before; exit 3\n"}, builder=builder))
    assert built.state.finished
    assert "RUN echo before; exit 3" in built.state.problem
    assert "exit code 3" in built.state.problem
    assert built.report("build")["step"] == "RUN echo before; exit 3"
    assert "digest" not in built.report("build")


@pytest.mark.parametrize("builder", ["buildkit", "buildah"])
def test_a_refused_push_is_told_from_a_failed_build(shop: Workshop, builder: str):
    spec = shop.spec({"Dockerfile": DOCKERFILE}, builder=builder)
    built = shop.build(spec, replace(SECRETS, registry_password="wrong password"))
    assert built.state.problem.startswith("The push was refused")
    assert built.report(shop.backend.containers(spec)[-1])["error"] == "push_refused"


def test_it_says_that_git_credentials_are_refused(shop: Workshop):
    built = shop.build(shop.spec({"Dockerfile": DOCKERFILE}), replace(SECRETS, git_password="wrong"))
    assert built.report("clone")["error"] == "git_credentials_refused"
    assert built.state.problem.startswith("The clone was refused")


def test_it_says_that_the_authority_of_the_git_server_is_unknown(shop: Workshop):
    built = shop.build(shop.spec({"Dockerfile": DOCKERFILE}, ca_secret=""))
    assert built.report("clone")["error"] == "git_certificate_unknown"
    assert "ca_secret" in built.state.problem


def test_it_says_that_the_commit_is_gone(shop: Workshop):
    built = shop.build(shop.spec({"Dockerfile": DOCKERFILE}, commit="1" * 40))
    assert built.report("clone")["error"] == "commit_gone"
    assert "1" * 40 in built.state.problem


def test_it_finds_a_commit_behind_its_branch_where_the_server_hands_out_branches_only(shop: Workshop):
    spec = shop.spec({"Dockerfile": DOCKERFILE, "app": "the first"})
    name = spec.repo_url.rpartition("/")[2]
    bare = BareRepository.__new__(BareRepository)  # the one that `spec` made
    bare.path = shop.git.root / name
    for number in range(3):
        bare.commit({"Dockerfile": "FROM scratch", "app": f"later {number}"})
    shop.git.configure(protocol_version="0", uploadpack_allowReachableSHA1InWant="false", uploadpack_allowAnySHA1InWant="false")
    try:
        built = shop.build(replace(spec, dockerfile="missing"))
    finally:
        shop.git.rules.config = {}
    assert built.report("clone")["error"] == "dockerfile_missing"
    assert b"Checked out " + spec.commit[:7].encode() in built.printed("clone")


@pytest.mark.parametrize(
    ("files", "changes", "error"),
    [
        ({"Dockerfile": DOCKERFILE}, {"dockerfile": "docker/Dockerfile"}, "dockerfile_missing"),
        ({"Dockerfile": DOCKERFILE}, {"build_path": "no/such"}, "build_path_missing"),
        ({"Dockerfile": DOCKERFILE}, {"build_path": "../.."}, "outside_checkout"),
        ({"Dockerfile": Symlink("/etc/passwd")}, {}, "outside_checkout"),
        ({"Dockerfile": DOCKERFILE, "out": Symlink("../../..")}, {"build_path": "out"}, "outside_checkout"),
    ],
)
def test_what_is_built_must_lie_inside_the_checkout(shop: Workshop, files, changes, error):
    built = shop.build(shop.spec(files, **changes))
    assert built.report("clone")["error"] == error
    assert built.state.finished


def test_it_says_that_memory_ran_out(shop: Workshop):
    settings = replace(shop.settings, resources={"limits": {"memory": "96Mi"}})
    backend = KubernetesBackend(settings, shop.space.kubeconfig)
    try:
        eat = "RUN x=0123456789abcdef; while :; do x=$x$x$x$x; done\n"
        spec = shop.spec({"Dockerfile": DOCKERFILE + eat}, builder="buildah")
        backend.launch(spec, SECRETS)
        state = follow_to_end(backend, spec).state
    finally:
        backend.close()
    assert state.problem.startswith("Out of memory in build")


def test_an_image_that_can_not_be_pulled_is_a_problem_and_in_time_a_fatal_one(shop: Workshop):
    settings = replace(shop.settings, clone_image="registry.invalid/no/such:1")
    backend = KubernetesBackend(settings, shop.space.kubeconfig)
    try:
        spec = shop.spec({"Dockerfile": DOCKERFILE})
        backend.launch(spec, SECRETS)
        state = wait_until(backend, spec, lambda state: bool(state.problem), 30)
        backend.delete(spec)
    finally:
        backend.close()
    assert "registry.invalid/no/such:1" in state.problem
    assert "can't be pulled" in state.problem
    assert not state.fatal


def test_a_missing_ca_secret_is_named(shop: Workshop):
    spec = shop.spec({"Dockerfile": DOCKERFILE}, ca_secret="no-such-ca")
    shop.backend.launch(spec, SECRETS)
    state = wait_until(shop.backend, spec, lambda state: bool(state.problem), 30)
    shop.backend.delete(spec)
    assert state.problem.startswith("There is no Secret no-such-ca")


def test_a_build_that_no_node_has_room_for_waits_and_says_so(shop: Workshop):
    settings = replace(shop.settings, resources={"requests": {"cpu": "5000"}})
    backend = KubernetesBackend(settings, shop.space.kubeconfig)
    try:
        spec = shop.spec({"Dockerfile": DOCKERFILE}, timeout_seconds=8)
        backend.launch(spec, SECRETS)
        waiting = wait_until(backend, spec, lambda state: "no node has room" in state.waiting, 20)
        ended = wait_until(backend, spec, lambda state: state.finished, 30)
    finally:
        backend.close()
    assert "Insufficient cpu" in waiting.waiting
    assert not waiting.fatal
    assert "time limit of 8 s" in ended.problem


def test_a_build_past_its_time_limit_is_stopped_and_still_proves_its_output(shop: Workshop):
    built = shop.build(shop.spec(HANGS, timeout_seconds=8))
    assert "time limit of 8 s" in built.state.problem
    assert not built.state.disrupted
    assert built.report("build")["bytes"] == len(built.printed("build"))


def test_a_deleted_job_is_told(shop: Workshop):
    spec = shop.spec(HANGS)
    shop.backend.launch(spec, SECRETS)
    wait_until(shop.backend, spec, lambda state: any(c.name == "build" and c.started_at for c in state.containers))
    shop.space.delete("jobs", spec.name)
    state = wait_until(shop.backend, spec, lambda state: state.finished, 40)
    assert not state.exists
    assert "deleted" in state.problem


def test_a_deleted_pod_is_told(shop: Workshop):
    spec = shop.spec(HANGS)
    shop.backend.launch(spec, SECRETS)
    wait_until(shop.backend, spec, lambda state: any(c.name == "build" and c.started_at for c in state.containers))
    shop.space.delete("pods", shop.space.pods(spec)[0]["metadata"]["name"])
    state = wait_until(shop.backend, spec, lambda state: state.finished, 40)
    assert state.problem == "The pod was deleted before the build ended."


def test_a_run_that_the_cluster_never_had_does_not_exist(shop: Workshop):
    assert not shop.backend.state(shop.spec({"Dockerfile": DOCKERFILE})).exists


def test_an_evicted_build_is_told_from_a_failed_one(shop: Workshop):
    spec = shop.spec(HANGS)
    shop.backend.launch(spec, SECRETS)
    wait_until(shop.backend, spec, lambda state: any(c.name == "build" and c.started_at for c in state.containers))
    pod = shop.space.pods(spec)[0]["metadata"]["name"]
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": shop.space.name}}
    shop.space.admin.request("POST", f"{shop.space.path('pods')}/{pod}/eviction", eviction)
    state = wait_until(shop.backend, spec, lambda state: state.finished, 40)
    assert state.disrupted
    assert "drained" in state.problem


def test_an_attempt_after_one_that_the_cluster_ended_prefers_another_node_and_takes_the_same_where_there_is_none(shop: Workshop):
    """What evicted the first pod may not show on its node yet."""
    first = shop.spec({"Dockerfile": DOCKERFILE}, commit="1" * 40)
    shop.build(first)
    (pod,) = shop.space.pods(first)
    spec = shop.spec({"Dockerfile": DOCKERFILE}, broken_uid=first.run_uid)
    shop.backend.launch(spec, SECRETS)
    wait_until(shop.backend, spec, lambda state: any(c.name == "clone" and c.started_at for c in state.containers))
    (again,) = shop.space.pods(spec)
    (preferred,) = again["spec"]["affinity"]["nodeAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    avoided = {"key": "metadata.name", "operator": "NotIn", "values": [pod["spec"]["nodeName"]]}
    assert preferred["preference"] == {"matchFields": [avoided]}
    shop.backend.delete(spec)


def test_an_attempt_after_one_whose_pod_is_gone_goes_anywhere(shop: Workshop):
    spec = shop.spec({"Dockerfile": DOCKERFILE}, broken_uid="0" * 32)
    shop.backend.launch(spec, SECRETS)
    assert "affinity" not in shop.space.get("jobs", spec.name)["spec"]["template"]["spec"]
    shop.backend.delete(spec)


def test_the_login_of_a_public_repository_may_be_missing(shop: Workshop):
    spec = shop.spec({"Dockerfile": DOCKERFILE})
    name = spec.repo_url.rpartition("/")[2]
    shop.git.rules.logins = {known: login for known, login in shop.git.rules.logins.items() if known != name}
    secrets = BuildSecrets(registry_username=SECRETS.registry_username, registry_password=SECRETS.registry_password)
    assert shop.build(spec, secrets).state.problem == ""


def test_the_builder_image_is_the_one_that_the_operator_chose(shop: Workshop):
    assert {
        container["image"] for container in shop.backend.manifest(shop.spec({}))[1]["spec"]["template"]["spec"]["initContainers"]
    } == {BUILDER_IMAGE}
