"""The steps of a local build: clone, build, push. Each runs in a process of its own, started by `local_build`.

Standard library only. What a step prints (its own lines, and everything that git and buildah print) is the build's output; what it
returns is its report. A secret is on disk only while the one step that needs it runs, in a file for its owner alone.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shlex
import shutil
import ssl
import subprocess
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from runners.backends.local_process import die_with_parent, exchange

#: Variables of the watcher's environment that the steps need too; they get no other.
PASSED_ON = (
    "PATH",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
)
#: Where distributions keep the certificates that they trust, besides what Python's OpenSSL was built with.
_SYSTEM_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
    "/etc/ssl/ca-bundle.pem",
)
_NAME_PART = re.compile(r"[a-z0-9]+(?:[._-]+[a-z0-9]+)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True, slots=True)
class Plan:
    """All that a build needs but its secrets; the backend leaves it in the folder as plan.json."""

    steps: list[str]
    timeout_seconds: int
    url: str
    ref: str
    commit: str
    dockerfile: str
    build_path: str
    registry: str
    image: str  # name without tag, with the registry where there is one
    tag: str
    layouts: str  # the folder of OCI layouts, for an image without registry
    insecure: bool = False
    submodules: bool = False
    disk_bytes: int = 0  # what the folder may take, 0: no limit
    disk_free_bytes: int = 0  # what must stay free on its disk
    output_bytes: int = 0  # what is kept of the output, 0: all
    pins: list[str] = field(default_factory=list)  # git's http.curloptResolve: host:port:address
    environment: dict[str, str] = field(default_factory=dict)  # the run's columns, for the build
    labels: dict[str, str] = field(default_factory=dict)  # whose build it is: installation, repository, run


class StepFailed(Exception):
    """The step can't go on. `error` is a slug that `diagnosis` knows, the message goes into the output; both "" where what was
    printed before says why.
    """

    def __init__(self, error: str = "", message: str = "", exit_code: int = 1) -> None:
        super().__init__(message)
        self.error, self.exit_code = error, exit_code


@dataclass(frozen=True, slots=True)
class Step:
    """Where a step works and with what."""

    folder: Path
    plan: Plan
    secrets: dict[str, str]

    @property
    def source(self) -> Path:
        """The checkout."""
        return self.folder / "source"

    def environment(self) -> dict[str, str]:
        """Only what git and buildah need, their home and scratch space inside the folder."""
        passed = {name: os.environ[name] for name in PASSED_ON if os.environ.get(name)}
        own = {"HOME": str(self.folder / "home"), "TMPDIR": str(self.folder / "tmp"), "LANG": "C.UTF-8"}
        return {**passed, **own, "XDG_RUNTIME_DIR": str(self.folder / "run"), "GIT_TERMINAL_PROMPT": "0"}

    def keep(self, name: str, content: str) -> Path:
        """Write a file for its owner alone among the secrets; `local_build` removes them when the step has ended."""
        path = self.folder / "secrets" / name
        path.parent.mkdir(mode=0o700, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            file.write(content)
        return path


def _say(text: str) -> None:
    """Print a line of the portal's own into the output, marked like those of the Kubernetes backend."""
    print(f"ci-portal: {text}", flush=True)


def _run(command: list[str], env: dict[str, str], cwd: Path | None = None) -> int:
    """Run a command that prints into the output and dies with this step; return its exit code (128 + signal where killed)."""
    parent = os.getpid()
    done = subprocess.run(
        command, env=env, cwd=cwd, stdin=subprocess.DEVNULL, check=False, preexec_fn=lambda: die_with_parent(parent)
    )
    return done.returncode if done.returncode >= 0 else 128 - done.returncode


def _ask(command: list[str], env: dict[str, str]) -> str:
    """Return what a command prints, "" where it fails."""
    done = subprocess.run(
        command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False
    )
    return done.stdout.decode("utf-8", "replace").strip() if done.returncode == 0 else ""


# clone


def clone(step: Step) -> dict[str, Any]:
    """Check out exactly the commit, shallow where the server allows it; report it."""
    plan, env = step.plan, _git_environment(step)
    git = ["git", "-C", str(step.source)]
    _say(f"fetching {plan.commit} from {plan.url}")
    if code := _run(["git", "init", "--quiet", "--template=", str(step.source)], env):
        raise StepFailed(exit_code=code)
    code = _fetch(git, plan, env)
    if _ask([*git, "rev-parse", "--verify", "--quiet", f"{plan.commit}^{{commit}}"], env) != plan.commit:
        if code:
            raise StepFailed(exit_code=code)
        raise StepFailed("commit_gone", f"the remote does not serve {plan.commit}")
    if code := _run([*git, "checkout", "--quiet", "--detach", plan.commit], env):
        raise StepFailed(exit_code=code)
    if plan.submodules and (code := _run([*git, "submodule", "update", "--init", "--recursive", "--depth", "1"], env)):
        raise StepFailed("submodules_failed", exit_code=code)
    locate(step)
    _run([*git, "--no-pager", "log", "-1", "--format=ci-portal: checked out %h %s (%an, %as)"], env)
    return {"commit": plan.commit}


def _fetch(git: list[str], plan: Plan, env: dict[str, str]) -> int:
    """Fetch the commit itself; where a server serves no bare commits, its ref: first the tip, then all of its history."""
    fetch = [*git, "fetch", "--no-tags", "--no-recurse-submodules"]
    if _run([*fetch, "--depth", "1", "--", plan.url, plan.commit], env) == 0:
        return 0
    ref = plan.ref or "HEAD"
    _say(f"the commit by itself was not handed out; fetching {ref}")
    for depth in (["--depth", "1"], ["--unshallow"]):
        if code := _run([*fetch, *depth, "--", plan.url, ref], env):
            return code
        if _ask([*git, "cat-file", "-t", plan.commit], env):
            break
    return 0


def _git_environment(step: Step) -> dict[str, str]:
    """A git that reads one configuration, ours: https and ssh only, no redirects, no prompts, no hooks."""
    (step.folder / "home").mkdir(exist_ok=True)
    (step.folder / "home" / ".gitconfig").write_text(_git_config(step), encoding="utf-8")
    env = {**step.environment(), "GIT_CONFIG_NOSYSTEM": "1", "GIT_ALLOW_PROTOCOL": "https:ssh", "GIT_ASKPASS": "true"}
    hosts = step.keep("known_hosts", step.secrets.get("known_hosts", ""))
    ssh = ["ssh", "-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-o", "GlobalKnownHostsFile=/dev/null"]
    ssh += ["-o", f"UserKnownHostsFile={hosts}", "-o", "IdentitiesOnly=yes", "-o", "ConnectTimeout=15"]
    if key := step.secrets.get("ssh_key", ""):
        ssh += ["-i", str(step.keep("ssh_key", key.rstrip("\n") + "\n"))]
    return {**env, "GIT_SSH_COMMAND": shlex.join(ssh)}


def _git_config(step: Step) -> str:
    """The text of ~/.gitconfig. Not options on the command line, so that submodules get it too."""
    http = {"followRedirects": "false", "sslVerify": "true", "lowSpeedLimit": "100", "lowSpeedTime": "60"}
    if bundle := _certificate_bundle(step.folder):
        http |= {"sslCAInfo": str(bundle), "sslCAPath": str(step.folder / "run")}  # an empty folder; the bundle has the system's
    sections: list[tuple[str, dict[str, str]]] = [
        ("core", {"hooksPath": "/dev/null", "fsmonitor": "false"}),
        ("protocol", {"allow": "never"}),
        ('protocol "https"', {"allow": "always"}),
        ('protocol "ssh"', {"allow": "always"}),
        ("http", {**http, "proxy": ""}),  # a proxy would look the host up by itself
        ("gc", {"auto": "0"}),
        ("credential", {"helper": ""}),
    ]
    sections += [("http", {"curloptResolve": pin}) for pin in step.plan.pins]
    if step.secrets.get("git_username") or step.secrets.get("git_password"):
        place = urlsplit(step.plan.url)
        answer = "".join(f"{key}={step.secrets.get('git_' + key, '')}\n" for key in ("username", "password"))
        file = shlex.quote(str(step.keep("git-credentials", answer)))
        helper = f'!f() {{ if test "$1" = get; then cat {file}; fi; }}; f'
        sections.append((f'credential "{place.scheme}://{place.netloc}"', {"helper": helper}))
    lines = []
    for name, values in sections:
        lines.append(f"[{name}]")
        lines += ['\t{} = "{}"'.format(key, value.replace("\\", "\\\\").replace('"', '\\"')) for key, value in values.items()]
    return "\n".join(lines) + "\n"


def _certificate_bundle(folder: Path) -> Path | None:
    """The system's certificates and the build's own in one file; None where it has none of its own."""
    own = [path.read_text(encoding="utf-8") for path in sorted((folder / "certificates").glob("*.crt"))]
    if not own:
        return None
    candidates = (os.environ.get("SSL_CERT_FILE"), ssl.get_default_verify_paths().cafile, *_SYSTEM_BUNDLES)
    system = next((Path(path) for path in candidates if path and Path(path).is_file()), None)
    bundle = folder / "home" / "certificates.pem"
    bundle.write_text("\n".join([system.read_text(encoding="utf-8") if system else "", *own]), encoding="utf-8")
    return bundle


def locate(step: Step) -> tuple[Path, Path]:
    """Return Dockerfile and build context. Raises StepFailed unless both are there, inside the checkout, symlinks resolved."""
    root, plan = step.source.resolve(), step.plan
    found = []
    for what, given, fits in (("dockerfile", plan.dockerfile, Path.is_file), ("build_path", plan.build_path, Path.is_dir)):
        try:
            path = (root / given).resolve()
        except (OSError, RuntimeError, ValueError):
            raise StepFailed("outside_checkout", f"{given} ({what}) leads nowhere") from None
        if path != root and root not in path.parents:
            raise StepFailed("outside_checkout", f"{given} ({what}) leads out of it")
        if not fits(path):
            raise StepFailed(f"{what}_missing", given)
        found.append(path)
    return found[0], found[1]


# build


def buildah(folder: Path) -> list[str]:
    """The beginning of every buildah command: its storage lies in the build's own folder and goes with it."""
    storage = folder / "storage"
    return ["buildah", "--storage-driver", "vfs", "--root", str(storage / "root"), "--runroot", str(storage / "run")]


def build_command(folder: Path, dockerfile: str, context: str, certificates: str = "") -> list[str]:
    """The command that builds the image and leaves its id in the folder."""
    trusted = ["--cert-dir", certificates] if certificates else []
    return [
        *buildah(folder),
        "build",
        "--isolation",
        "chroot",
        *trusted,
        "--iidfile",
        str(folder / "image"),
        "--file",
        dockerfile,
        context,
    ]


def build(step: Step) -> dict[str, Any]:
    """Build the image; without a registry, leave it as an OCI layout and report its digest."""
    dockerfile, context = locate(step)
    if dockerfile.suffix == ".in":  # buildah would run it through the C preprocessor, which includes any file of this machine
        dockerfile = Path(shutil.copyfile(dockerfile, step.folder / "Dockerfile"))
    _configure_containers(step)
    env = {**step.environment(), **step.plan.environment}
    if code := _run(build_command(step.folder, str(dockerfile), str(context), _certificates(step.folder)), env):
        raise StepFailed(exit_code=code)
    return {} if step.plan.registry else {"digest": _leave_layout(step, env)}


def _certificates(folder: Path) -> str:
    path = folder / "certificates"
    return str(path) if path.is_dir() else ""


def _configure_containers(step: Step) -> None:
    """Fill what the machine's own configuration leaves open (containers-registries.conf.d(5), containers-policy.json(5)).

    Names without a host are Docker Hub's, as with other builders; only the run's own registry may be insecure; images are
    accepted without a signature where the machine has no policy.
    """
    config = step.folder / "home" / ".config" / "containers"
    (config / "registries.conf.d").mkdir(parents=True, exist_ok=True)
    lines = []
    if not _system_registries().get("unqualified-search-registries"):
        lines += ['unqualified-search-registries = ["docker.io"]', 'short-name-mode = "permissive"']
    if step.plan.registry and step.plan.insecure:
        lines += ["[[registry]]", f"location = {json.dumps(step.plan.registry)}", "insecure = true"]
    (config / "registries.conf.d" / "portal.conf").write_text("\n".join(lines) + "\n", encoding="utf-8")
    if not Path("/etc/containers/policy.json").exists():
        (config / "policy.json").write_text(json.dumps({"default": [{"type": "insecureAcceptAnything"}]}), encoding="utf-8")


def _system_registries() -> dict[str, Any]:
    try:
        return tomllib.loads(Path("/etc/containers/registries.conf").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


# an image without registry


def layout_of(layouts: Path, image: str, tag: str) -> Path:
    """Where the OCI layout of this image lies. Raises ValueError for a name that is none."""
    if not all(_NAME_PART.fullmatch(part) for part in image.split("/")) or not _TAG.fullmatch(tag):
        raise ValueError(f"{image}:{tag} is not the name of an image")
    return layouts / image / tag


def digest_of_layout(layout: Path) -> str:
    """The digest of the one image in an OCI layout, its manifest checked against it. Raises OSError or ValueError."""
    index = json.loads((layout / "index.json").read_bytes())
    (entry,) = index["manifests"]
    algorithm, _, value = str(entry["digest"]).partition(":")
    if hashlib.new(algorithm, (layout / "blobs" / algorithm / value).read_bytes()).hexdigest() != value:
        raise ValueError(f"the manifest in {layout} does not have the digest that its index names")
    return str(entry["digest"])


def _leave_layout(step: Step, env: dict[str, str]) -> str:
    """Write the image into its OCI layout, in one move, in the place of an earlier one with this tag; return the digest."""
    try:
        final = layout_of(Path(step.plan.layouts), step.plan.image, step.plan.tag)
    except ValueError as error:
        raise StepFailed("image_name", str(error)) from None
    image = (step.folder / "image").read_text(encoding="utf-8").strip()
    fresh, old = step.folder / "layout", step.folder / "layout-before"
    if code := _run([*buildah(step.folder), "push", "--quiet", image, f"oci:{fresh}:{step.plan.tag}"], env):
        raise StepFailed(exit_code=code)
    digest = digest_of_layout(fresh)
    if any((parent / "oci-layout").exists() for parent in final.parents) or (
        final.exists() and not (final / "oci-layout").exists()
    ):
        raise StepFailed("image_name", f"{final} lies in or over another image's folder: give the image another name")
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        if final.exists() and not exchange(fresh, final):
            final.rename(old)
        if not final.exists():
            fresh.rename(final)
    except OSError as error:
        raise StepFailed("image_name", str(error)) from None
    _say(f"left {step.plan.image}:{step.plan.tag} in {final}")
    _say(digest)
    return digest


# push


def push_command(folder: Path, reference: str, certificates: str = "") -> list[str]:
    """The command that pushes the image, without its id; the login lies in a file that only this step has."""
    trusted = ["--cert-dir", certificates] if certificates else []
    login = ["--authfile", str(folder / "secrets" / "config.json")]
    return [*buildah(folder), "push", *login, *trusted, "--digestfile", str(folder / "digest"), "IMAGE", f"docker://{reference}"]


def push(step: Step) -> dict[str, Any]:
    """Push the image to its registry; report the digest under which that has it."""
    plan, logins = step.plan, {}
    if user := step.secrets.get("registry_username", ""):
        pair = f"{user}:{step.secrets.get('registry_password', '')}"
        logins[plan.registry] = {"auth": base64.b64encode(pair.encode()).decode()}
    step.keep("config.json", json.dumps({"auths": logins}))
    image = (step.folder / "image").read_text(encoding="utf-8").strip()
    command = push_command(step.folder, f"{plan.image}:{plan.tag}", _certificates(step.folder))
    _say(f"pushing {plan.image}:{plan.tag}")
    if code := _run([image if part == "IMAGE" else part for part in command], step.environment()):
        raise StepFailed(exit_code=code)
    digest = (step.folder / "digest").read_text(encoding="utf-8").strip()
    _say(f"pushed {digest}")
    return {"digest": digest}


#: Which secrets each step may see.
SECRETS = {
    "clone": ("git_username", "git_password", "ssh_key", "known_hosts"),
    "build": (),
    "push": ("registry_username", "registry_password"),
}
STEPS: dict[str, Callable[[Step], dict[str, Any]]] = {"clone": clone, "build": build, "push": push}
