"""`manage.py dev`: the portal on this machine, with its watcher and a sample repository. What `make run` starts."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts import users
from ci_portal.config import BASE_DIR, is_loopback
from ci_portal.registration import CheckRequest, find, register
from logs.models import Log
from repos.models import Repository
from repos.sample import NAME, create_sample
from repos.sample_certificate import ensure_certificates
from repos.sample_server import GitHttpsServer
from runners.backends.local_process import die_with_parent

#: Seconds that a child has to end before it is killed.
_GRACE_SECONDS = 8
_ACTOR = "manage.py dev"


@dataclass(frozen=True, slots=True)
class Child:
    """A process of the portal."""

    name: str
    process: subprocess.Popen[bytes]


class Command(BaseCommand):
    """Migrate, serve the sample repository, run web server and watcher until Ctrl-C; all of it on this machine only."""

    help = "Run the portal on this machine: web server, watcher, and a sample repository to build."

    def add_arguments(self, parser: CommandParser) -> None:
        """Where to listen, and whether there is a sample."""
        parser.add_argument("--address", default="127.0.0.1:8000", help="host:port to listen on (default: %(default)s)")
        parser.add_argument("--no-sample", action="store_true", help="serve and register no sample repository")

    def handle(self, *args: Any, address: str, no_sample: bool, **options: Any) -> None:
        """Run until SIGINT or SIGTERM; a child that ends by itself ends everything. Raises CommandError for what can't be."""
        stopping = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stopping.set())
        _check_address(address)
        call_command("migrate", interactive=False, verbosity=0)
        _make_first_admin()
        local = settings.PORTAL.build.backend == "local"
        if local and not shutil.which("buildah"):
            self.stderr.write("buildah is not installed: builds wait until it is (tools/install-buildah.sh installs it).")
        if local and os.geteuid() == 0:
            self.stderr.write(
                "You are root, and so is every Dockerfile that is built here: build only what you trust with this machine."
            )
        with _sample(local and not no_sample) as environment:
            children = [  # this process has made Django's checks already: one warning need not be told three times
                _start("web server", environment, "runserver", "--noreload", "--skip-checks", address),
                _start("watcher", environment, "watch", "--skip-checks"),
            ]
            try:
                self._wait(children, address, stopping)
            finally:
                _stop(children)
                for number in (signal.SIGINT, signal.SIGTERM):  # a handler is taken away while the interpreter ends, this is not
                    signal.signal(number, signal.SIG_IGN)
        self.stdout.write("Stopped.")
        self.stdout.flush()
        os._exit(0)  # ending the interpreter would give signals that still come their way again

    def _wait(self, children: list[Child], address: str, stopping: threading.Event) -> None:
        """Say where to look once the web server answers; return when asked to stop. Raises CommandError when a child ends."""
        said = False
        while not stopping.wait(0.1):
            for child in children:
                if (code := child.process.poll()) is not None:
                    raise CommandError(f"The {child.name} ended (exit code {code}); what it printed above says why.")
            if not said and _answers(address):
                said = True
                self.stdout.write(self.style.SUCCESS(f"\nCI Portal is at http://{address}/ (Ctrl-C stops it)\n"))
                self.stdout.write(_who_may(address))
                self.stdout.flush()


def _check_address(address: str) -> None:
    """Refuse what can't be listened on, and what others could reach while everyone may do everything."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise CommandError(f"{address} is not host:port, like 127.0.0.1:8000")
    if settings.PORTAL.development and settings.PORTAL.auth.mode == "open" and not is_loopback(address):
        raise CommandError(
            f"{address} can be reached from other machines, and here everyone may do everything (auth.mode is open):"
            " listen on 127.0.0.1, or configure keys and users as docs/deploy.md says."
        )
    try:
        with socket.create_server((host.strip("[]"), int(port)), family=socket.AF_INET6 if ":" in host else socket.AF_INET):
            pass
    except OSError as error:
        raise CommandError(
            f"{address} can't be listened on ({error.strerror}): choose another, like make run ADDRESS=127.0.0.1:8001"
        ) from None


def _password_file() -> Path:
    """Where the first admin's password is told, to whoever may read the portal's own files."""
    return BASE_DIR / settings.PORTAL.build.folder / "first-admin-password"


def _make_first_admin() -> None:
    """Make the user `admin` where there is no user yet. Only a file of mode 0600 has the password: a terminal may be recorded."""
    if get_user_model()._default_manager.exists():
        return
    password, file = secrets.token_urlsafe(16), _password_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.unlink(missing_ok=True)
    with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as written:
        written.write(f"{password}\n")
    user = users.create("admin", "admin")
    user.set_password(password)
    user.save(update_fields=["password"])


def _who_may(address: str) -> str:
    """What to say of users."""
    free = "Everyone on this machine may do everything (auth.mode is open). " if settings.PORTAL.auth.mode == "open" else ""
    file = _password_file()
    told = f"; the password of admin is in {file}, which may go once it was changed" if file.exists() else ""
    return f"{free}Log in at http://{address}/login/{told}.\n"


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=1).close()
    except OSError:
        return False
    return True


# The sample repository


@contextmanager
def _sample(wanted: bool) -> Iterator[dict[str, str]]:
    """Serve and register the sample repository; yields what the children's environment needs to trust its server."""
    if not wanted:
        yield {}
        return
    folder = _folder()
    folder.mkdir(parents=True, exist_ok=True)
    certificates = ensure_certificates(folder / "tls", ["localhost", "127.0.0.1", "::1"])
    create_sample(folder)
    with _serve(folder, certificates) as server:
        _register(server.url(f"{NAME}.git"))
        yield {"CI_PORTAL_GIT__CA_BUNDLE": str(_bundle(folder, certificates.authority))}


def _folder() -> Path:
    return BASE_DIR / settings.PORTAL.build.folder / "sample"


def _serve(folder: Path, certificates: Any) -> GitHttpsServer:
    """Serve on the port of the last time, so that the registered URL stays right; on another where that is taken."""
    kept = folder / "port"
    port = int(kept.read_text()) if kept.exists() else 0
    try:
        server = GitHttpsServer(folder, certificates, port=port)
    except OSError:
        server = GitHttpsServer(folder, certificates)
    kept.write_text(str(server.port))
    return server


def _bundle(folder: Path, authority: Path) -> Path:
    """The certificates that git trusts besides the system's: the sample server's, and the configured ones."""
    configured = settings.PORTAL.git.ca_bundle
    texts = [path.read_text(encoding="utf-8") for path in (authority, *([Path(configured)] if configured else []))]
    bundle = folder / "trusted.pem"
    bundle.write_text("\n".join(texts), encoding="utf-8")
    return bundle


def _register(url: str) -> None:
    """Register the sample repository once for each database, as a check of its URL would: deleted by hand, it stays away."""
    if not Log.objects.filter(repository_id=NAME, actor=_ACTOR).exists():
        register(find(CheckRequest(url, desc="A small repository to try a build with")), _ACTOR)
    served = rf"^https://localhost:[0-9]+/{NAME}\.git$"
    if Repository.objects.filter(repo_name=NAME, repo__regex=served).exclude(repo=url).update(repo=url):
        Log.objects.record(f"the sample repository moved to {url}", repo_name=NAME, actor=_ACTOR)


# Children


def _start(name: str, environment: dict[str, str], *command: str) -> Child:
    """Start `manage.py …` in a session of its own (Ctrl-C reaches this process alone), to die with this process."""
    parent = os.getpid()
    dying = (lambda: die_with_parent(parent)) if sys.platform == "linux" else None
    process = subprocess.Popen(
        [sys.executable, str(BASE_DIR / "manage.py"), *command],
        env={**os.environ, "DJANGO_RUNSERVER_HIDE_WARNING": "true", **environment},
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=dying,
    )
    return Child(name, process)


def _stop(children: list[Child]) -> None:
    """End the children in their order: first what takes requests, then what works on them."""
    for child in children:
        child.process.send_signal(signal.SIGTERM)
        until = time.monotonic() + _GRACE_SECONDS
        while child.process.poll() is None and time.monotonic() < until:
            time.sleep(0.05)
        child.process.kill()
        child.process.wait()
