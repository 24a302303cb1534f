"""Builds on the real cluster with the portal's own Role: git over https with a login and a private authority, push over TLS."""

import json
from dataclasses import replace

import pytest

from runners.backends import manifest
from runners.build import BuildSecrets, BuildSpec
from tests.support.cluster import DOCKERFILE, GIT_LOGIN, HOST, PUSH_LOGIN, Built, Workshop, cksum
from tests.support.registry_server import run_registry

pytestmark = pytest.mark.needs_cluster


@pytest.fixture(scope="module", params=["buildkit", "buildah"])
def build(request: pytest.FixtureRequest, shop: Workshop) -> tuple[BuildSpec, Built]:
    spec = shop.spec({"Dockerfile": DOCKERFILE + "RUN echo hello from the build\n"}, builder=request.param)
    return spec, shop.build(spec)


def test_it_reports_the_digest_that_the_registry_serves(build, shop):
    spec, built = build
    reported = [container.report["digest"] for container in built.state.containers if "digest" in container.report]
    assert reported == [shop.digest(spec)]
    assert reported[0].startswith("sha256:")


def test_it_reports_the_commit_that_was_asked_for(build):
    spec, built = build
    assert built.report("clone")["commit"] == spec.commit


def test_it_ends_finished_without_a_problem(build):
    _, built = build
    assert (built.state.finished, built.state.problem, built.state.fatal) == (True, "", False)
    assert all(container.exit_code == 0 for container in built.state.containers)


def test_it_streams_exactly_the_bytes_that_the_containers_counted(build, shop):
    spec, built = build
    for container in shop.backend.containers(spec):
        printed, report = built.printed(container), built.report(container)
        assert [report["cksum"], report["bytes"]] == cksum(printed)
    assert b"hello from the build" in built.printed("build")


def test_no_secret_is_in_the_output_or_in_the_job(build, shop):
    spec, built = build
    shown = (
        b"".join(built.printed(container) for container in built.pieces) + json.dumps(shop.space.get("jobs", spec.name)).encode()
    )
    for secret in (GIT_LOGIN[1], PUSH_LOGIN[1]):
        assert secret.encode() not in shown


def test_the_pod_has_no_account_and_only_the_last_container_the_registry_login(build, shop):
    spec, _ = build
    pod = shop.space.pods(spec)[0]["spec"]
    mounted = {
        container["name"]: {mount["name"] for mount in container["volumeMounts"]}
        for container in pod["initContainers"] + pod["containers"]
    }
    *before, last = manifest.containers(spec)
    assert "registry" in mounted[last]
    assert all("registry" not in mounted[container] for container in before)
    assert [container for container in mounted if "git" in mounted[container]] == ["clone"]
    assert pod["automountServiceAccountToken"] is False


@pytest.mark.parametrize("builder", ["buildkit", "buildah"])
def test_a_registry_on_plain_http_is_used_where_that_is_configured(shop: Workshop, builder: str):
    with run_registry(HOST) as plain:
        spec = shop.spec(
            {"Dockerfile": DOCKERFILE}, builder=builder, registry=plain.address, insecure_registry=True, registry_user=""
        )
        built = shop.build(spec, BuildSecrets(git_username=GIT_LOGIN[0], git_password=GIT_LOGIN[1]))
        assert replace(shop, registry=plain).digest(spec) == built.state.containers[-1].report["digest"]


def test_the_cache_of_an_earlier_build_is_used(shop: Workshop):
    files = {"Dockerfile": DOCKERFILE + "RUN echo this step is kept\n"}
    first = shop.spec(files, cache=True)
    assert shop.build(first).state.problem == ""
    second = replace(shop.spec(files, cache=True), image_name=first.image_name)
    assert b"CACHED" in shop.build(second).printed("build")
