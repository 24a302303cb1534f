"""schemathesis sends thousands of requests that follow from `/schema/`, valid and not, alone and one after the other (stateful), as
nobody, with a token of each scope: no 500, no answer that the schema does not have, no planted secret in any of them."""

import base64
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.git_server import git_server
from tests.support.portal import KEY, ROOT, portal
from tests.support.uwsgi_portal import UwsgiPortal

pytestmark = pytest.mark.fuzz
SEED = "20261123"
#: Of each run; a machine that is too busy tries less.
MOST_SECONDS = os.environ.get("FUZZ_SECONDS", "45")
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,"
    "response_schema_conformance,unsupported_method,no_secret_is_told,nobody_gets_anything"
)
SECRET = {
    "git_token": "pl4nted-git-token-8c1f",
    "registry": "pl4nted-registry-password-77aa",
    "recorded": "pl4nted-password-of-a-run-41b2",
    "django_key": "pl4nted-django-key-0123456789-abcdefghijklmnopqrstuvwxyz-5e",
}
#: What the portal shall never tell: the secrets, their usual encoding, its keys, and tokens.
SETUP = f"""
from django.contrib.auth.models import Group, User
from accounts.models import ApiToken
from repos.credentials import store, store_git_login
from repos.models import Credential, Repository
from events.models import Event
from logs.output import Recorder
from runners.models import Run
row = Repository.objects.create(repo_name="exporter", repo="URL")
store_git_login(row, "ci-bot", "{SECRET["git_token"]}")
event = Event.objects.create(name="event-1", repo="exporter", repository=row, status="3")
run = Run.objects.create(name="app-1", status="succeeded", event=event)
store(Credential.REGISTRY, {{"password": "{SECRET["recorded"]}"}}, run=run)
recorder = Recorder(run.pk, ("build",), ["{SECRET["git_token"]}"])
recorder.append("build", b"one line with {SECRET["git_token"]}\\n", "1")
user = User.objects.create_user("fuzz")
user.groups.set(Group.objects.filter(name="admin"))
for scope in ("read", "build", "admin"):
    print(ApiToken.objects.issue(user, scope, scope=scope)[1])
"""


class GuardedPortal(UwsgiPortal):
    """One that wants a login."""

    def answers(self) -> bool:
        try:
            return self.get("/repo/").status == 401
        except OSError:
            return False


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[GuardedPortal, dict[str, str]]]:
    """A portal that wants a login, whose cluster can't be reached, and the tokens to log in with."""
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "kubeconfig").write_text(json.dumps(_unreachable_cluster()))
    with git_server(folder / "git") as git:
        git.repository("exporter.git").commit({"Dockerfile": "FROM scratch\n"})
        (folder / "ca.pem").write_text(git.ca_pem)
        sections = {
            "auth": {"mode": "required"},
            "secrets": {"keys": [KEY], "django_key": SECRET["django_key"]},
            "git": {"ca_bundle": str(folder / "ca.pem"), "allowed_hosts": ["localhost"], "allow_private_networks": True},
            "registry": {
                "address": "localhost:1",
                "username": "ci",
                "password": SECRET["registry"],
                "allowed_hosts": ["localhost"],
            },
            "build": {"backend": "kubernetes", "folder": str(folder / "work")},
            "kubernetes": {"kubeconfig": str(folder / "kubeconfig")},
            "limits": dict.fromkeys(("check", "dry_run", "remote", "search", "login", "wrong_tokens"), 0),
        }
        with portal(folder / "portal", of=GuardedPortal, **sections) as running:
            assert isinstance(running, GuardedPortal)
            running.shell(SETUP.replace("URL", git.url("exporter.git")))
            keys = re.findall(r"^\S{20,}$", (running.folder / "shell.log").read_text(), re.MULTILINE)[-3:]
            yield running, {"nobody": "", **dict(zip(("read", "build", "admin"), keys, strict=True))}


def _unreachable_cluster() -> dict[str, object]:
    cluster = {"server": "http://127.0.0.1:1"}
    context = {"cluster": "c", "user": "u"}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "c", "context": context}],
        "current-context": "c",
    }


@pytest.mark.parametrize(
    ("who", "phases", "examples"),
    [
        ("nobody", "examples,coverage,fuzzing", 20),
        ("read", "examples,coverage,fuzzing", 40),
        ("build", "examples,coverage,fuzzing", 60),
        ("admin", "examples,coverage,fuzzing", 100),
        ("admin", "stateful", 60),
    ],
)
def test_it_holds_what_its_schema_says(
    served: tuple[GuardedPortal, dict[str, str]], who: str, phases: str, examples: int, tmp_path: Path
):
    running, tokens = served
    secrets = [*SECRET.values(), KEY, *filter(None, tokens.values())]
    secrets += [base64.b64encode(secret.encode()).decode().rstrip("=") for secret in secrets]
    known = {"PLANTED_SECRETS": json.dumps(secrets), "NOBODY": "" if tokens[who] else "1"}
    command = [str(Path(sys.executable).parent / "st"), "--no-color", "run", f"{running.url}/schema/?format=json"]
    command += ["--seed", SEED, "--phases", phases, "--max-examples", str(examples), "--max-time", MOST_SECONDS, "--checks", CHECKS]
    command += [
        "--continue-on-failure",
        "--generation-database",
        "none",
        "--no-shrink",
        "--request-timeout",
        "30",
        "--warnings",
        "off",
    ]
    command += ["--header", f"Authorization: Token {tokens[who]}"] if tokens[who] else []
    report = tmp_path / "report.txt"
    with report.open("wb") as out:
        environment = {**os.environ, "SCHEMATHESIS_HOOKS": "tests.support.fuzz_hooks", **known}
        ended = subprocess.run(command, cwd=ROOT, env=environment, stdout=out, stderr=out)
    told = report.read_text()
    print(told[-20_000:])
    assert ended.returncode == 0
    generated = re.search(r"(\d+) generated", told)
    assert generated
    assert int(generated[1]) > 100
    assert "Traceback" not in running.log()
