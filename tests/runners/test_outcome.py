"""How a run ended: no digest, no success; a failure is named in a sentence."""

import datetime

import pytest

from runners.backends.base import ContainerState, RunState
from runners.build import BuildSpec
from runners.outcome import outcome, phases

COMMIT, DIGEST = "c" * 40, "sha256:" + "d" * 64
START = datetime.datetime(2026, 11, 23, 10, 0, tzinfo=datetime.UTC)
SPEC = BuildSpec(
    run_id=1,
    run_uid="0" * 32,
    event_id=1,
    name="app-00000000",
    repo_name="app",
    repo_url="https://git.example/app.git",
    ref="refs/heads/main",
    commit=COMMIT,
    dockerfile="Dockerfile",
    build_path=".",
    registry="registry.example",
    image_repo="team",
    image_name="app",
    image_tag="v1",
)


def container(name, exit_code=0, report=None, reason="Completed"):
    return ContainerState(name, START, START if exit_code is not None else None, exit_code, reason, report or {})


def ended(*containers, **more):
    return RunState("0" * 32, finished=True, containers=containers, **more)


CLONE = container("clone", report={"commit": COMMIT})
BUILD = container("build", report={"digest": DIGEST})


def test_a_digest_of_the_right_commit_is_a_success():
    assert outcome(SPEC, ended(CLONE, BUILD), ("clone", "build")).digest == DIGEST


def test_exit_code_zero_without_a_digest_is_a_failure():
    found = outcome(SPEC, ended(CLONE, container("build")), ("clone", "build"))
    assert found.digest == ""
    assert "without reporting the pushed image's digest" in found.reason


@pytest.mark.parametrize("digest", ["sha256:short", "latest", "sha256:" + "D" * 64, DIGEST + "\n"])
def test_what_is_not_a_digest_does_not_count_as_one(digest):
    assert outcome(SPEC, ended(CLONE, container("build", report={"digest": digest})), ("clone", "build")).digest == ""


def test_a_digest_after_a_failed_step_does_not_count():
    found = outcome(SPEC, ended(container("clone", 1), BUILD), ("clone", "build"))
    assert found.reason == "The step 'clone' ended with exit code 1 (Completed)."


def test_the_backends_sentence_says_why_it_failed():
    state = ended(CLONE, container("build", 137, reason="OOMKilled"), problem="The build ran out of memory.")
    assert outcome(SPEC, state, ("clone", "build")).reason == "The build ran out of memory."


def test_another_commit_than_the_one_resolved_is_a_failure():
    other = container("clone", report={"commit": "e" * 40})
    assert "instead of" in outcome(SPEC, ended(other, BUILD), ("clone", "build")).reason


def test_a_vanished_run_is_a_failure():
    assert "vanished" in outcome(SPEC, ended(CLONE, container("build", None)), ("clone", "build")).reason


def test_a_run_that_never_started_is_a_failure():
    assert "before its step 'clone'" in outcome(SPEC, RunState("0" * 32, exists=False), ("clone", "build")).reason


def test_phases_are_told_in_utc():
    assert phases(ended(CLONE))["clone"] == {"started": "2026-11-23T10:00:00Z", "finished": "2026-11-23T10:00:00Z"}
