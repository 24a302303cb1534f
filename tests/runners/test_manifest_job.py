"""The build Job as a whole, against golden files. UPDATE_GOLDEN=1 writes them anew: read the difference before you commit it."""

import base64
import json
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest

from runners.backends import manifest
from runners.build import BuildSecrets, BuildSpec, JobSettings

GOLDEN = Path(__file__).parent / "golden"
SCRIPTS = Path(manifest.__file__).parent / "scripts"

SPEC = BuildSpec(
    run_id=12,
    run_uid="0123456789abcdef0123456789abcdef",
    event_id=7,
    name="prometh-exporter-7-1",
    repo_name="prometh_exporter",
    repo_url="https://git.example.org/team/prometh_exporter.git",
    ref="refs/heads/main",
    commit="c0ffee" + "0" * 34,
    dockerfile="docker/Dockerfile",
    build_path=".",
    registry="registry.example.org:5000",
    image_repo="team/apps",
    image_name="prometh-exporter",
    image_tag="buildv202111251517",
    registry_user="pusher",
    installation="fedcba9876543210fedcba9876543210",
)
SETTINGS = JobSettings("ci-portal-builds", "builder.example.org/buildkit:1", "builder.example.org/git:1")
SECRETS = BuildSecrets("reader", "t0ken", "", "", "pusher", "s3cret")
VARIANTS = {
    "buildkit": (SPEC, SETTINGS),
    "buildah": (replace(SPEC, builder="buildah"), SETTINGS),
    "everything": (
        replace(SPEC, ca_secret="company-ca", cache=True, insecure_registry=True, submodules=True, timeout_seconds=600),
        replace(
            SETTINGS,
            queue="team-queue",
            node_selector={"disk": "ssd"},
            tolerations=[{"key": "builds", "operator": "Exists"}],
            pod_annotations={"example.org/team": "apps"},
            resources={"requests": {"cpu": "1"}, "limits": {"memory": "2Gi"}},
            ttl_seconds=3600,
        ),
    ),
}


def compare(name: str, value: object) -> None:
    path = GOLDEN / f"{name}.json"
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text()


def with_names_of_scripts(job: dict) -> dict:
    """The scripts are files of their own; the golden files name them."""
    job = json.loads(json.dumps(job))
    pod = job["spec"]["template"]["spec"]
    for container in pod["initContainers"] + pod["containers"]:
        shell, flag, text = container["command"]
        known = {
            path.stem for path in SCRIPTS.glob("*.sh") if text == path.read_text() + "\n" + (SCRIPTS / "report.sh").read_text()
        }
        container["command"] = [shell, flag, *(f"<{name}.sh, report.sh>" for name in known)]
    return job


@pytest.mark.parametrize("name", VARIANTS)
def test_the_job_is_the_one_of_the_golden_file(name):
    compare(f"job_{name}", with_names_of_scripts(manifest.build_job(*VARIANTS[name])))


def test_the_secret_is_the_one_of_the_golden_file():
    owner = {"metadata": {"name": SPEC.name, "namespace": "ci-portal-builds", "uid": "5f0c"}}
    compare("secret", manifest.build_secret(SPEC, SECRETS, owner))


def test_what_people_get_has_placeholders_and_starts_when_applied():
    secret, job = manifest.export(SPEC, SETTINGS)
    compare("secret_placeholders", secret)
    expected = manifest.build_job(replace(SPEC, installation=""), SETTINGS)
    del expected["spec"]["suspend"]
    assert job == expected


def test_what_people_apply_by_hand_does_not_say_that_it_is_the_portals_to_remove():
    assert "ci-portal/installation" not in json.dumps(manifest.export(SPEC, SETTINGS))


def _spec(spec, settings):
    return manifest.build_job(spec, settings)["spec"]


def test_the_login_is_a_docker_config():
    auths = json.loads(manifest.docker_config("registry.example.org:5000", "pusher", "s3crét"))["auths"]
    assert base64.b64decode(auths["registry.example.org:5000"]["auth"]).decode() == "pusher:s3crét"


def test_docker_hub_is_spelled_as_docker_spells_it():
    assert list(json.loads(manifest.docker_config("docker.io", "a", "b"))["auths"]) == ["https://index.docker.io/v1/"]


def test_values_with_a_dollar_are_not_expanded_by_kubernetes():
    job = manifest.build_job(replace(SPEC, dockerfile="$(IMAGE_TAG)/$HOME"), SETTINGS)
    env = job["spec"]["template"]["spec"]["containers"][0]["env"]
    assert {"name": "REPO_DOCKERFILE", "value": "$$(IMAGE_TAG)/$$HOME"} in env


def test_no_script_holds_what_kubernetes_would_change():
    names = {entry["name"] for container in _containers(*VARIANTS["everything"]) for entry in container["env"]}
    for path in SCRIPTS.glob("*.sh"):
        text = path.read_text()
        assert "$$" not in text
        assert not names & set(re.findall(r"\$\(([^)]*)\)", text))


def test_names_and_labels_stay_within_what_kubernetes_allows():
    labels = manifest.labels(replace(SPEC, name="x" * 63))
    assert all(len(value) <= 63 for value in labels.values())


def _containers(spec, settings):
    pod = _spec(spec, settings)["template"]["spec"]
    return pod["initContainers"] + pod["containers"]
