"""What git's complaint means: from its messages (in English, LC_ALL=C) to the errors of `repos.errors`.

git ends with status 128 whatever went wrong, so its text is all there is. The patterns hold for git over OpenSSL's and over
GnuTLS's libcurl and for OpenSSH. Nothing of the text itself is passed on except in `unknown`, since remotes can write into it.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from repos.errors import (
    CredentialsRefused,
    GitError,
    GitTimeout,
    HostUnreachable,
    Redirected,
    RepositoryNotFound,
    UnknownCertificate,
    UnknownHostKey,
)


def _credentials(host: str, has_login: bool) -> GitError:
    if has_login:
        return CredentialsRefused(
            f"{host} refuses these git credentials: check user and token, and that the token may read the repository."
        )
    return CredentialsRefused(f"{host} wants credentials for this repository: give user and token.")


def _forbidden(host: str, has_login: bool) -> GitError:
    whose = "these credentials" if has_login else "anyone without credentials"
    return CredentialsRefused(f"{host} forbids {whose} to read this repository: give a user and token that may.")


def _missing(host: str, has_login: bool) -> GitError:
    hint = (
        "that these credentials may see it" if has_login else "give user and token (hosts hide private repositories from strangers)"
    )
    return RepositoryNotFound(f"{host} has no such repository: check the URL, and {hint}.")


def _certificate(host: str, _: bool) -> GitError:
    return UnknownCertificate(
        f"The certificate of {host} can't be verified: it is signed by an authority that is not trusted here, expired, or made for"
        " another name. Name the authority's certificate in ca_secret, or have it added to git.ca_bundle."
    )


def _host_key(host: str, _: bool) -> GitError:
    return UnknownHostKey(f"The ssh host key of {host} is not the one in git.known_hosts: an administrator has to add it there.")


def ssh_key_refused(host: str, has_login: bool) -> GitError:
    """The deploy key is missing or does not open the repository."""
    what = "refuses the repository's deploy key" if has_login else "wants a deploy key"
    return CredentialsRefused(f"{host} {what}: store one that may read the repository.", field="deploy_key")


def _no_address(host: str, _: bool) -> GitError:
    return HostUnreachable(f"The host {host} has no address: check its name.")


def _no_connection(host: str, _: bool) -> GitError:
    return HostUnreachable(f"{host} accepts no connection: check host and port, and that it can be reached from the portal.")


def _server_fault(host: str, _: bool) -> GitError:
    return HostUnreachable(f"{host} answers with an error of its own: try again later.")


def _redirect(host: str, _: bool) -> GitError:
    return Redirected(f"{host} redirects to another address, which is not followed: give the repository's final URL.")


def _no_git(host: str, _: bool) -> GitError:
    return RepositoryNotFound(f"What {host} answers at this URL is not a git repository: check the URL.")


def _slow(host: str, _: bool) -> GitError:
    return GitTimeout(f"{host} took too long to answer: try again later.")


_MEANINGS: tuple[tuple[str, Callable[[str, bool], GitError]], ...] = (
    (r"operation too slow|operation timed out|timed out after|timeout was reached", _slow),
    (r"could not resolve host|name or service not known|temporary failure in name resolution", _no_address),
    (r"host key verification failed|remote host identification has changed", _host_key),
    (r"requested url returned error: 30\d|unable to update url base from redirection", _redirect),
    (r"authentication failed for|could not read (username|password)|requested url returned error: 401", _credentials),
    (r"requested url returned error: 403", _forbidden),
    (r"requested url returned error: (404|410)|fatal: repository '.*' not found", _missing),
    (r"requested url returned error: (5\d\d|429)", _server_fault),
    (
        r"server certificate verification failed|ssl certificate|certificate problem|subject name|certificate (has )?expired",
        _certificate,
    ),
    (r"permission denied \(|too many authentication failures|load key .*: (invalid|error)", ssh_key_refused),
    (r"repository not found|does not appear to be a git repository|project you were looking for could not be found", _missing),
    (
        r"couldn't connect|failed to connect|connection (refused|reset|closed|timed out)|no route to host|unreachable",
        _no_connection,
    ),
    (r"gnutls_handshake|ssl_connect|ssl routines|tls (packet|connect)|empty reply|recv failure|early eof|hung up", _no_connection),
    (r"not valid: is this a git repository|invalid server response|protocol error|bad line length|unable to access", _no_git),
)


def meaning(stderr: str, host: str, has_login: bool) -> GitError | None:
    """The error that git's messages stand for, None where they say nothing known."""
    text = stderr.lower()
    for pattern, error in _MEANINGS:
        if re.search(pattern, text):
            return error(host, has_login)
    return None


def unknown(stderr: str, host: str, secrets: list[str]) -> GitError:
    """An error that repeats git's last line, without any of `secrets` and without control characters."""
    lines = [line for line in stderr.splitlines() if line.startswith(("fatal:", "error:"))] or stderr.splitlines()
    line = lines[-1] if lines else "it said nothing"
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        line = line.replace(secret, "***")
    printable = "".join(character if character.isprintable() else " " for character in line)
    return GitError(f"git could not read the repository on {host}: {printable.removeprefix('fatal: ')[:200]}")
