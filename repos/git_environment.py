"""What git is told when the portal runs it: its variables, its configuration, and the private files that both lead to."""

from __future__ import annotations

import os
import shlex
import ssl
from base64 import b64encode
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from django.conf import settings

from ci_portal.config import BASE_DIR
from repos import git_failures, urls
from repos.credentials import GitLogin
from repos.errors import CredentialsRefused, UnknownCertificate, UnknownHostKey

#: Prefixes of variables that git, ssh, libcurl and the TLS libraries listen to, and of the portal's own, which hold secrets.
_WITHHELD = ("GIT_", "SSH_", "CI_PORTAL_", "CURL_", "SSL_", "GNUTLS_", "OPENSSL_", "XDG_")
#: Name of the private file with an https login, in the scratch folder.
LOGIN = "login"
_SYSTEM_CERTIFICATES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)


def inherited(names: Iterable[str]) -> list[str]:
    """Which of this process's variables git must not see."""
    ours = {"GIT_PYTHON_REFRESH", "GIT_PYTHON_GIT_EXECUTABLE"}
    return sorted(name for name in names if name.startswith(_WITHHELD) and name not in ours)


def environment(folder: Path, url: str, parts: urls.Parts, addresses: list[str], login: GitLogin, ca_pem: str) -> dict[str, str]:
    """Git's variables, its configuration among them (https://git-scm.com/docs/git-config#ENVIRONMENT).

    Leaves what is secret in files of mode 0600 in `folder`. Raises CredentialsRefused, UnknownCertificate or UnknownHostKey where
    the configuration or the login can't do.
    """
    https = parts.scheme == "https"
    config = {
        "core.hooksPath": os.devnull,
        "gc.auto": "0",
        "maintenance.auto": "false",
        "protocol.version": "2",
        "remote.origin.url": url,
        "remote.origin.promisor": "true",
        "remote.origin.partialCloneFilter": "blob:none",
        **(_https_config(folder, parts, addresses, login, ca_pem) if https else {}),
    }
    variables = {
        "HOME": str(folder),
        "XDG_CONFIG_HOME": str(folder),
        "GIT_ALLOW_PROTOCOL": "https:ssh",
        "GIT_ASKPASS": "",
        "GIT_CEILING_DIRECTORIES": str(folder.parent),
        "GIT_CONFIG_COUNT": str(len(config)),
        "GIT_CONFIG_GLOBAL": str(folder / LOGIN),  # there only where there is a login
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_LITERAL_PATHSPECS": "1",
        "GIT_TERMINAL_PROMPT": "0",
        **({} if https else _ssh_variables(folder, parts, addresses[0], login)),
    }
    for number, (key, value) in enumerate(config.items()):
        variables |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return variables


def _https_config(folder: Path, parts: urls.Parts, addresses: list[str], login: GitLogin, ca_pem: str) -> dict[str, str]:
    nothing = folder / "nothing"
    nothing.mkdir()
    config = {
        "http.followRedirects": "false",
        "http.lowSpeedLimit": "1000",
        "http.lowSpeedTime": "10",
        "http.proxy": "",  # a proxy would resolve the name by itself
        "http.sslVerify": "true",
        "http.sslCAInfo": str(_trusted(folder, ca_pem)),
        "http.sslCAPath": str(nothing),  # GnuTLS would read all of /etc/ssl/certs besides: 30 ms for each connection
    }
    if addresses != [parts.host]:
        dialled = ",".join(f"[{address}]" if ":" in address else address for address in addresses)
        config["http.curloptResolve"] = f"{parts.host}:{parts.port}:{dialled}"
    if login.username or login.password:
        if any(character in login.username + login.password for character in "\n\r\0"):
            raise CredentialsRefused("User or token contain a line break: enter them anew.")
        _private(folder / LOGIN, _authorization(parts, login))
    return config


def _authorization(parts: urls.Parts, login: GitLogin) -> str:
    """Git's configuration that sends the login to this host unasked (RFC 7617).

    A credential helper would be two more processes, and one more request that is answered 401.
    """
    host = f"[{parts.host}]" if ":" in parts.host else parts.host
    basic = b64encode(f"{login.username}:{login.password}".encode()).decode()
    return f'[http "https://{host}:{parts.port}/"]\n\textraHeader = Authorization: Basic {basic}\n'


def _ssh_variables(folder: Path, parts: urls.Parts, address: str, login: GitLogin) -> dict[str, str]:
    configured = settings.PORTAL.git.known_hosts
    if not configured:
        raise UnknownHostKey(
            "ssh remotes need git.known_hosts, a file with the host keys to trust: an administrator has to set it."
        )
    if not login.ssh_key:
        raise git_failures.ssh_key_refused(parts.host, False)
    try:
        known = (BASE_DIR / configured).read_text(encoding="utf-8")
    except OSError:
        raise UnknownHostKey("The file of git.known_hosts can't be read: an administrator has to look after it.") from None
    alias = parts.host if parts.port == 22 else f"[{parts.host}]:{parts.port}"
    lines = {
        "HostName": address,
        "HostKeyAlias": alias,  # host keys go by the name that was asked for, not by the pinned address
        "IdentityFile": _private(folder / "key", login.ssh_key.strip() + "\n"),
        "UserKnownHostsFile": _private(folder / "known_hosts", known),
        "GlobalKnownHostsFile": os.devnull,
        "StrictHostKeyChecking": "yes",
        "UpdateHostKeys": "no",
        "CheckHostIP": "no",
        "BatchMode": "yes",
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "PreferredAuthentications": "publickey",
        "ClearAllForwardings": "yes",
        "ConnectTimeout": "10",
        "ServerAliveInterval": "10",
        "ServerAliveCountMax": "1",
    }
    config = _private(folder / "ssh_config", "Host *\n" + "".join(f"  {key} {value}\n" for key, value in lines.items()))
    return {"GIT_SSH_COMMAND": f"ssh -F {shlex.quote(str(config))}", "GIT_SSH_VARIANT": "ssh"}


def _private(path: Path, text: str) -> Path:
    """Write a file that nobody else may read."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    return path


def _trusted(folder: Path, ca_pem: str) -> Path:
    """One file with the certificates trusted for this remote: the system's, git.ca_bundle's and its own."""
    bundle = settings.PORTAL.git.ca_bundle
    system = _system_certificates()
    if not ca_pem and not bundle:
        return system
    try:
        pieces = [system.read_bytes(), (BASE_DIR / bundle).read_bytes() if bundle else b"", ca_pem.encode()]
    except OSError:
        raise UnknownCertificate("The file of git.ca_bundle can't be read: an administrator has to look after it.") from None
    path = folder / "trusted.pem"
    path.write_bytes(b"\n".join(pieces))
    return path


@cache
def _system_certificates() -> Path:
    """The system's bundle, or certifi's where there is none."""
    candidates = [ssl.get_default_verify_paths().cafile or "", *_SYSTEM_CERTIFICATES]
    for candidate in candidates:
        if candidate and Path(candidate).is_file():
            return Path(candidate)
    import certifi

    return Path(certifi.where())
