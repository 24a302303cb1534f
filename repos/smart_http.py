"""Asking a git host for refs as git does over https, without starting git: smart HTTP, protocol version 2.

https://git-scm.com/docs/gitprotocol-http, https://git-scm.com/docs/gitprotocol-v2. A git process would take several times as long,
for its start, for the certificates that it reads and for a TLS handshake; here connections stay open. Only the plain case is
dealt with: what is not understood is left to git, which says what is wrong (docs/decisions/0020-asking-git-hosts.md).
"""

from __future__ import annotations

import ssl
from base64 import b64encode
from collections.abc import Iterable, Sequence

from django.conf import settings
from urllib3 import Timeout
from urllib3.exceptions import HTTPError, NewConnectionError, TimeoutError

from ci_portal.config import BASE_DIR
from ci_portal.outgoing_connections import body_of, connections
from repos import git_failures, refs
from repos.addresses import allowed_addresses
from repos.credentials import GitLogin
from repos.errors import GitTimeout, TooLarge

CONNECT_SECONDS = 10.0
_FLUSH, _DELIMITER = b"0000", b"0001"
_SERVICE = "git-upload-pack"
#: The object formats of repositories ("" where not told) that are known to speak version 2, by URL: they need not be asked again
#: what they speak. The oldest goes first.
_formats: dict[str, str] = {}
_KNOWN = 1_000

#: Object ids by the full name of the ref, of an annotated tag also that of the commit, as name^{}; and what HEAD points to, or "".
Found = tuple[dict[str, str], str]


def ls_refs(url: str, host: str, login: GitLogin, ca_pem: str, prefixes: Sequence[str], seconds: float, limit: int) -> Found | None:
    """The refs whose full names begin with one of `prefixes`; None where git has to be asked, as nothing plain was answered.

    `url` is https and without a login; each answer may take `seconds` and have `limit` bytes. The host is looked up where a
    connection is made. Raises AddressRefused, HostUnreachable, GitTimeout, TooLarge, and what `git_failures` makes of an answer
    like 401.
    """
    if any(character in login.username + login.password for character in "\n\r\0"):
        return None
    try:
        host_asked = _Host(url, host, login, _trusted(ca_pem), seconds, limit)
        if url in _formats:
            if (answer := host_asked.refs(_formats[url], prefixes)) is not None:
                return answer
            _formats.pop(url, None)
        object_format = host_asked.object_format()
        if object_format is None or (answer := host_asked.refs(object_format, prefixes)) is None:
            return None
    except NewConnectionError:  # urllib3 counts it among the next
        return None
    except TimeoutError:
        raise GitTimeout(f"{host} did not answer within {seconds:g} seconds: try again later.") from None
    except (HTTPError, ssl.SSLError, OSError, ValueError):
        return None
    while len(_formats) >= _KNOWN:
        _formats.pop(next(iter(_formats)), None)
    _formats[url] = object_format
    return answer


class _Host:
    """One repository on its host, and how to ask for it."""

    def __init__(self, url: str, host: str, login: GitLogin, trusted: str, seconds: float, limit: int) -> None:
        self._url, self._host, self._seconds, self._limit = url.rstrip("/"), host, seconds, limit
        self._has_login = bool(login.username or login.password)
        self._pool = connections(trusted, allowed_addresses)
        # Some hosts let only what calls itself git in.
        self._headers = {"User-Agent": "git/2 (ci-portal)", "Git-Protocol": "version=2", "Accept-Encoding": "identity"}
        if self._has_login:
            basic = b64encode(f"{login.username}:{login.password}".encode()).decode()
            self._headers["Authorization"] = f"Basic {basic}"

    def object_format(self) -> str | None:
        """What the repository's object ids are, "" where it isn't told; None where the host does not speak version 2."""
        told = self._ask("GET", f"/info/refs?service={_SERVICE}", f"application/x-{_SERVICE}-advertisement")
        lines = packets(told) if told else []
        if lines[:1] == [f"# service={_SERVICE}".encode()]:
            lines = lines[2:]
        offered = {name: value for name, _, value in ((line or b"").decode().partition("=") for line in lines)}
        return offered.get("object-format", "") if "version 2" in offered and "ls-refs" in offered else None

    def refs(self, object_format: str, prefixes: Iterable[str]) -> Found | None:
        """Ask for the refs; None where the answer is none."""
        formats = [packet(f"object-format={object_format}")] if object_format else []
        arguments = [packet("peel"), packet("symrefs"), *(packet(f"ref-prefix {prefix}") for prefix in prefixes)]
        question = b"".join([packet("command=ls-refs"), *formats, _DELIMITER, *arguments, _FLUSH])
        told = self._ask("POST", f"/{_SERVICE}", f"application/x-{_SERVICE}-result", question)
        return refs_of(packets(told)) if told else None

    def _ask(self, method: str, path: str, content_type: str, body: bytes | None = None) -> bytes | None:
        """The answer of that type, or None. Raises GitError for those that git would fail for, and urllib3's errors."""
        headers = dict(self._headers)
        if body is not None:
            headers |= {"Content-Type": f"application/x-{_SERVICE}-request", "Accept": content_type}
        answer = self._pool.request(
            method,
            self._url + path,
            body=body,
            headers=headers,
            timeout=Timeout(connect=min(CONNECT_SECONDS, self._seconds), read=self._seconds),
            redirect=False,
            preload_content=False,
            decode_content=False,
        )
        taken = body_of(answer, self._limit, self._seconds)
        if answer.status != 200:
            # The words of libcurl, which git fails with.
            said = f"The requested URL returned error: {answer.status}"
            failure = git_failures.meaning(said, self._host, self._has_login)
            if failure and body is None:
                raise failure
            return None
        if taken is None:
            raise TooLarge(f"{self._host} sent more than the portal takes in: the repository is too large to be looked into.")
        return taken if answer.headers.get("Content-Type") == content_type else None


def packet(text: str) -> bytes:
    """A pkt-line (https://git-scm.com/docs/gitprotocol-common#_pkt_line_format)."""
    line = text.encode() + b"\n"
    return b"%04x%b" % (len(line) + 4, line)


def packets(data: bytes) -> list[bytes | None]:
    """The lines of an answer without their line ends, None for a flush. Raises ValueError where these are no pkt-lines."""
    lines: list[bytes | None] = []
    place = 0
    while place < len(data):
        size = int.from_bytes(bytes.fromhex(data[place : place + 4].decode("ascii")))
        if size in (1, 2, 3) or place + max(size, 4) > len(data):
            raise ValueError("no pkt-line")
        lines.append(data[place + 4 : place + size].removesuffix(b"\n") if size else None)
        place += size or 4
    return lines


def refs_of(lines: list[bytes | None]) -> Found | None:
    """What the answer to `ls-refs` says; None where it is none, or not whole. Raises ValueError where it is not text."""
    if lines[-1:] != [None]:
        return None
    found: dict[str, str] = {}
    head = ""
    for line in lines[:-1]:
        object_id, _, rest = (line or b"").decode().partition(" ")
        name, *attributes = rest.split(" ")
        if not refs.OBJECT_ID.fullmatch(object_id) or not name:
            return None
        found[name] = object_id
        for attribute in attributes:
            kind, _, value = attribute.partition(":")
            if kind == "peeled":
                found[f"{name}^{{}}"] = value
            elif kind == "symref-target" and name == "HEAD":
                head = value
    return found, head


def _trusted(ca_pem: str) -> str:
    """Certificates trusted besides the system's: git.ca_bundle's and the remote's own. Raises OSError."""
    bundle = settings.PORTAL.git.ca_bundle
    return "\n".join(filter(None, [(BASE_DIR / bundle).read_text(encoding="utf-8") if bundle else "", ca_pem]))
