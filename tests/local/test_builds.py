"""What a local build leaves: an image with its digest, output as it was printed, and nothing else."""

import json
import subprocess

import pytest

from runners.build import BuildSecrets
from tests.local.conftest import Project

pytestmark = pytest.mark.needs_buildah


def test_it_leaves_an_oci_layout_whose_index_has_the_reported_digest(project: Project):
    spec = project.spec(project.shell('RUN ["busybox", "touch", "/made"]'))
    state = project.build(spec)
    assert [(step.name, step.exit_code) for step in state.containers] == [("clone", 0), ("build", 0)], project.output(spec, "build")
    assert state.problem == ""
    assert state.containers[0].report["commit"] == spec.commit
    digest = state.containers[1].report["digest"]
    index = json.loads((project.root / "images/team/app/v1/index.json").read_bytes())
    assert index["manifests"][0]["digest"] == digest == project.backend.digest_on_disk(spec)


def test_an_image_with_the_same_tag_takes_the_place_of_the_earlier_one(project: Project):
    first = project.build(project.spec(project.commit({"Dockerfile": "FROM scratch\nCOPY a /\n", "a": "1"})))
    spec = project.spec(project.commit({"Dockerfile": "FROM scratch\nCOPY a /\n", "a": "2"}))
    second = project.build(spec)
    assert second.containers[1].report["digest"] == project.backend.digest_on_disk(spec)
    assert second.containers[1].report["digest"] != first.containers[1].report["digest"]


def test_it_builds_what_lies_below_the_root_of_the_checkout(project: Project):
    commit = project.commit({"docker/App.Dockerfile": "FROM scratch\nCOPY inside /\n", "src/inside": "x"})
    state = project.build(project.spec(commit, dockerfile="docker/App.Dockerfile", build_path="src"))
    assert state.problem == ""


def test_output_is_stored_as_it_was_printed(project: Project):
    spec = project.spec(project.shell(r"""RUN ["busybox", "printf", "\\377\\000\\r50%%\\r\\033[31mred no newline"]"""))
    project.build(spec)
    printed = project.output(spec, "build")
    assert b"\xff\x00\r50%\r\x1b[31mred no newline" in printed


@pytest.mark.parametrize("step", ["clone", "build"])
def test_each_step_reports_count_and_cksum_of_what_it_printed(project: Project, step: str):
    spec = project.spec(project.shell(r"""RUN ["busybox", "printf", "\\377\\000 no newline"]"""))
    state = project.build(spec)
    report = next(container.report for container in state.containers if container.name == step)
    said = subprocess.run(["cksum"], input=project.output(spec, step), capture_output=True, check=True).stdout.split()
    assert [report["cksum"], report["bytes"]] == [int(said[0]), int(said[1])]


def test_a_loud_build_is_stored_to_the_last_byte(project: Project):
    spec = project.spec(project.shell('RUN ["busybox", "seq", "1", "600000"]'))
    state = project.build(spec)
    printed = project.output(spec, "build")
    assert b"".join(b"%d\n" % number for number in range(1, 600001)) in printed
    assert state.containers[1].report["bytes"] == len(printed)


def test_a_failing_run_instruction_is_named(project: Project):
    spec = project.spec(project.shell('RUN ["busybox", "sh", "-c", "echo on purpose; exit 7"]'))
    state = project.build(spec)
    assert state.finished
    assert state.problem == "A step of the Dockerfile failed: RUN busybox sh -c echo on purpose; exit 7 (exit code 7)"
    assert state.containers[1].report["step"] == "RUN busybox sh -c echo on purpose; exit 7"
    assert state.containers[1].exit_code == 7


def test_a_missing_file_to_copy_is_named(project: Project):
    state = project.build(project.spec(project.commit({"Dockerfile": "FROM scratch\nCOPY nowhere /\n"})))
    assert state.problem == "A step of the Dockerfile failed: COPY nowhere /"


def test_a_dockerfile_with_an_unknown_instruction_fails_with_what_buildah_says(project: Project):
    state = project.build(project.spec(project.commit({"Dockerfile": "FROM scratch\nFLY away\n"})))
    assert "FLY" in state.problem


def test_the_commit_is_built_although_the_branch_moved_on(project: Project):
    old = project.commit({"Dockerfile": "FROM scratch\nCOPY a /\n", "a": "1"})
    project.commit({"Dockerfile": "FROM scratch\nFLY\n"})
    state = project.build(project.spec(old))
    assert (state.problem, state.containers[0].report["commit"]) == ("", old)


def test_a_server_that_serves_no_bare_commits_is_asked_for_the_branch(project: Project):
    project.server.rules.protocol_v2 = False
    old = project.commit({"Dockerfile": "FROM scratch\nCOPY a /\n", "a": "1"}, onto=True)
    project.commit({"Dockerfile": "FROM scratch\nFLY\n"}, onto=True)
    state = project.build(project.spec(old))
    assert (state.problem, state.containers[0].report["commit"]) == ("", old)


def test_a_commit_that_is_gone_from_the_remote_is_named(project: Project):
    project.server.rules.protocol_v2 = False
    old = project.commit({"Dockerfile": "FROM scratch\n"})
    project.commit({"Dockerfile": "FROM scratch\n", "a": "2"})
    state = project.build(project.spec(old))
    assert state.containers[0].report["error"] == "commit_gone"
    assert old in state.problem


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"dockerfile": "link"}, "outside_checkout"),
        ({"dockerfile": "../../plan.json"}, "outside_checkout"),
        ({"build_path": "out"}, "outside_checkout"),
        ({"dockerfile": "Missing"}, "dockerfile_missing"),
        ({"build_path": "Dockerfile"}, "build_path_missing"),
    ],
)
def test_dockerfile_and_build_path_must_lie_inside_the_checkout(project: Project, changes: dict, error: str):
    commit = project.commit({"Dockerfile": "FROM scratch\n", "link": ("/etc/hostname",), "out": ("..",)})
    spec = project.spec(commit, **changes)
    state = project.build(spec)
    assert state.containers[0].report["error"] == error
    assert next(iter(changes.values())) in state.problem
    assert state.containers[0].exit_code != 0
    assert state.containers[1].started_at is None


@pytest.mark.parametrize("login", [BuildSecrets(), BuildSecrets(git_username="builder", git_password="wrong-password")])
def test_wrong_git_credentials_are_named(project: Project, login: BuildSecrets):
    state = project.build(project.spec(project.commit({"Dockerfile": "FROM scratch\n"})), login)
    assert state.containers[0].report["error"] == "git_credentials_refused"
    assert "does not accept the credentials" in state.problem


def test_an_untrusted_git_certificate_is_named(project: Project):
    state = project.build(project.spec(project.commit({"Dockerfile": "FROM scratch\n"}), ca_secret=""))
    assert "the git server's certificate is not trusted" in state.problem


def test_a_dockerfile_never_reaches_the_c_preprocessor(project: Project):
    commit = project.commit({"Dockerfile.in": 'FROM scratch\n#include "/etc/hostname"\nCOPY a /\n', "a": "1"})
    state = project.build(project.spec(commit, dockerfile="Dockerfile.in"))
    assert state.problem == ""


def test_a_layout_never_lands_in_another_images_folder(project: Project):
    commit = project.commit({"Dockerfile": "FROM scratch\nCOPY Dockerfile /\n"})
    project.build(project.spec(commit, image_repo="", image_name="team", image_tag="app"))
    state = project.build(project.spec(commit, image_repo="team", image_name="app", image_tag="v1"))
    assert "give the image another name" in state.problem
