"""Why a container failed, from the last lines of git, BuildKit and buildah as they were printed."""

import pytest

from runners.backends.diagnosis import diagnose

BUILDKIT_STEP = """#8 [3/3] RUN make all
#8 0.092 make: *** No rule to make target 'all'.  Stop.
#8 ERROR: process "/bin/sh -c make all" did not complete successfully: exit code: 2
------
 > [3/3] RUN make all:
0.092 make: *** No rule to make target 'all'.  Stop.
------
Dockerfile:12
--------------------
  11 |     COPY . .
  12 | >>> RUN make all
  13 |     CMD ["app"]
--------------------
error: failed to solve: process "/bin/sh -c make all" did not complete successfully: exit code: 2
"""


def test_buildkits_excerpt_names_line_and_step():
    found = diagnose("build", "", BUILDKIT_STEP, 1)
    assert found.sentence == "Line 12 of the Dockerfile failed: RUN make all (exit code 2)"
    assert (found.error, found.step) == ("step_failed", "RUN make all")


def test_a_step_of_several_lines_is_one_line():
    tail = "  3 | >>> RUN apt-get update && \\\n  4 | >>>     apt-get install nothing\nerror: failed to solve: did not complete"
    assert diagnose("build", "", tail, 1).step == "RUN apt-get update && apt-get install nothing"


def test_buildahs_last_words_name_the_step():
    tail = 'subprocess exited with status 3\nError: building at STEP "RUN echo "a"; exit 3": exit status 3\n'
    found = diagnose("build", "", tail, 3)
    assert found.sentence == 'A step of the Dockerfile failed: RUN echo "a"; exit 3 (exit code 3)'


CASES = [
    ("clone", "fatal: Authentication failed for 'https://git.example.org/a.git/'", "git_credentials_refused"),
    ("clone", "fatal: could not read Username for 'https://git.example.org': terminal prompts disabled", "git_credentials_refused"),
    ("clone", "git@git.example.org: Permission denied (publickey).", "git_credentials_refused"),
    ("clone", "No ED25519 host key is known for git.example.org and you have requested strict checking.", "git_host_unknown"),
    ("clone", "server certificate verification failed. CAfile: none CRLfile: none", "git_certificate_unknown"),
    ("clone", "SSL certificate problem: unable to get local issuer certificate", "git_certificate_unknown"),
    ("clone", "fatal: repository 'https://git.example.org/a.git/' not found", "git_repository_not_found"),
    ("clone", "fatal: unable to access: Could not resolve host: git.example.org", "git_host_unreachable"),
    ("clone", "gnutls_handshake() failed: The TLS connection was non-properly terminated.", "git_host_unreachable"),
    ("clone", "fatal: write error: No space left on device", "disk_full"),
    ("clone", "something new", "clone_failed"),
    ("build", "error: failed to solve: dockerfile parse error on line 3: unknown instruction: RUNN", "dockerfile_invalid"),
    (
        "build",
        "error: failed to solve: no/such:1: failed to resolve source metadata for docker.io/no/such:1: not found",
        "base_image_unavailable",
    ),
    (
        "build",
        "error: failed to solve: failed to push r/a:1: unexpected status from HEAD request to https://r/v2: 401 Unauthorized",
        "push_refused",
    ),
    ("build", "error: failed to solve: failed to push r/a:1: push access denied, repository does not exist", "push_refused"),
    (
        "build",
        "error: failed to solve: failed to push r/a:1: dial tcp 10.0.0.1:5000: connect: connection refused",
        "registry_unreachable",
    ),
    (
        "build",
        "error: failed to solve: failed to push r/a:1: tls: failed to verify certificate: x509: unknown authority",
        "registry_untrusted",
    ),
    ("build", "something new", "build_failed"),
    ("push", "checking whether a blob exists in r/a: authentication required", "push_refused"),
    ("push", "pinging container registry r: http: server gave HTTP response to HTTPS client", "registry_insecure"),
    ("push", "x509: certificate signed by unknown authority", "registry_untrusted"),
    ("push", "something new", "push_failed"),
]


@pytest.mark.parametrize(("container", "line", "error"), CASES)
def test_the_last_words_tell_what_failed(container, line, error):
    found = diagnose(container, "", f"something before\n{line}\n", 1)
    assert found.error == error
    assert found.sentence


@pytest.mark.parametrize("error", ["outside_checkout", "dockerfile_missing", "build_path_missing", "commit_gone"])
def test_what_the_clone_found_itself_is_told_with_its_words(error):
    found = diagnose("clone", error, "Cloning\nci-portal: there is no file docker/Dockerfile in this commit\n")
    assert found.error == error
    assert "there is no file docker/Dockerfile in this commit" in found.sentence


def test_an_image_is_named_that_may_not_be_pushed():
    assert "registry.example.org/app:v1" in diagnose("push", "", "denied", 1, "registry.example.org/app:v1").sentence


def test_without_any_last_words_there_is_still_a_sentence():
    assert diagnose("build", "", "", 1).sentence == "The build failed: exit code 1, see the output"
