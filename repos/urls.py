"""Git URLs: what is accepted, and taking the credential out of one. Pure text; nothing here asks the network.

Accepted are `https://host[:port]/path`, `ssh://user@host[:port]/path` and the scp-like `user@host:path`. A list of what is
allowed, because git takes far more than URLs in this place: options, local paths, `ext::` commands, remote helpers
(https://git-scm.com/docs/git-clone#_git_urls, https://git-scm.com/docs/gitremote-helpers).
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

from repos.errors import InvalidUrl

#: Characters of a URL without its credential: the column `gitstat.repo`.
MAX_LENGTH = 200

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_PATH = re.compile(r"[A-Za-z0-9._~+,=:@%/()!&-]+")
_SCP = re.compile(r"([^/@:]+)@([^/@:]+):([^:].*)")
_PASSWORD_CUT = re.compile(r"[^:\[]*:(?![0-9]*$)")
_ACCEPTED = "Use https://host/path or ssh://git@host/path (also written git@host:path)."


@dataclass(frozen=True, slots=True)
class SplitUrl:
    """A URL without its credential, and the credential; `repr` shows nothing of the latter."""

    url: str
    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Parts:
    """The pieces of an accepted URL."""

    scheme: str  # https | ssh
    user: str  # of an ssh URL, else ""
    host: str  # lower case, an IPv6 address without brackets
    port: int  # 443 or 22 where the URL names none
    path: str


def split(url: str) -> SplitUrl:
    """Take `user:password@` out of a URL, percent-decoded; scheme and host come back in lower case.

    Works on URLs that `check` refuses too, so that a credential never stays in one. The user of an ssh URL stays: it is no secret.
    """
    scheme = _SCHEME.match(url)
    if not scheme:
        return SplitUrl(url)
    end = _credential_aware_end(url, scheme.end())
    userinfo, _, place = url[scheme.end() : end].rpartition("@")
    username, _, password = userinfo.partition(":")
    name = scheme[1].lower()
    if name == "ssh":
        kept = f"{username}@" if username else ""
        return SplitUrl(f"ssh://{kept}{place.lower()}{url[end:]}", "", _decoded(password))
    return SplitUrl(f"{name}://{place.lower()}{url[end:]}", _decoded(username), _decoded(password))


def check(url: str) -> None:
    """Raise InvalidUrl unless git may be given this URL (once `split` has taken a credential out of it)."""
    parts(url)


def host(url: str) -> str:
    """The host of a URL in lower case. Raises InvalidUrl."""
    return parts(url).host


def is_below(url: str, base: str) -> bool:
    """Whether an accepted URL, without its credential, leads below a base like git.base_url."""
    return url.startswith(f"{split(base).url.rstrip('/')}/")


def parts(url: str) -> Parts:
    """Take an accepted URL apart. Raises InvalidUrl; no part of the URL that may be secret is repeated in the message."""
    if not url:
        raise InvalidUrl(f"The URL is empty. {_ACCEPTED}")
    if not url.isascii() or any(character <= " " or character == "\x7f" for character in url):
        raise InvalidUrl("The URL contains spaces, control characters or others outside ASCII; write them percent-encoded.")
    if url.startswith("-"):
        raise InvalidUrl(f"The URL starts with a dash. {_ACCEPTED}")
    found = split(url)
    _check_credential(url, found)
    if len(found.url) > MAX_LENGTH:
        raise InvalidUrl(f"The URL has {len(found.url)} characters without its credential; at most {MAX_LENGTH} are possible.")
    scheme = _SCHEME.match(found.url)
    if scheme:
        return _parse_url(found, scheme[1], scheme.end())
    scp = _SCP.fullmatch(found.url)
    if not scp:
        raise InvalidUrl(f"This is no git URL that can be used here. {_ACCEPTED}")
    _check_user(scp[1])
    _check_path(scp[3])
    return Parts("ssh", scp[1], _checked_host(scp[2]), 22, scp[3])


def _parse_url(found: SplitUrl, scheme: str, start: int) -> Parts:
    if scheme not in ("https", "ssh"):
        raise InvalidUrl(f"The transport of this URL is not allowed here. {_ACCEPTED}")
    if scheme == "ssh" and found.password:
        raise InvalidUrl("An ssh URL can't carry a password: leave it out and give the repository a deploy key.")
    end = _authority_end(found.url, start)
    user, _, place = found.url[start:end].rpartition("@")
    if scheme == "ssh":
        _check_user(user)
    name, port = _host_and_port(place, 443 if scheme == "https" else 22)
    path = found.url[end:]
    _check_path(path)
    if not path.strip("/"):
        raise InvalidUrl("The URL names a host but no repository on it: add the path of the repository.")
    return Parts(scheme, user, _checked_host(name), port, path)


def _authority_end(url: str, start: int) -> int:
    """Index of the first character behind host and port (https://www.rfc-editor.org/rfc/rfc3986#section-3.2)."""
    found = re.compile(r"[/?#\\]").search(url, start)
    return found.start() if found else len(url)


def _credential_aware_end(url: str, start: int) -> int:
    """Like `_authority_end`, but behind the last "@" where a password with a bare "/", "?" or "#" hides the host behind it."""
    end = _authority_end(url, start)
    if "@" in url[start:end] or not _PASSWORD_CUT.match(url, start, end):
        return end
    return _authority_end(url, url.rindex("@") + 1) if "@" in url[end:] else end


def _decoded(text: str) -> str:
    return unquote_to_bytes(text).decode("utf-8", "replace")


def _check_credential(url: str, found: SplitUrl) -> None:
    scheme = _SCHEME.match(url)
    if scheme and _credential_aware_end(url, scheme.end()) != _authority_end(url, scheme.end()):
        raise InvalidUrl("Percent-encode the password in the URL: a '/' in it is %2F, a '?' %3F, a '#' %23.")
    for secret in (found.username, found.password):
        if any(character < " " or character in "\x7f\ufffd" for character in secret):
            raise InvalidUrl("User name or password in the URL contain control characters or are not UTF-8.")


def _check_user(user: str) -> None:
    if not _USER.fullmatch(user):
        raise InvalidUrl("An ssh URL needs a plain user name before the host, like git@host.")


def _check_path(path: str) -> None:
    if "?" in path or "#" in path:
        raise InvalidUrl("The URL has a query or a fragment: leave out what follows the path (? or #).")
    if path and not _PATH.fullmatch(path):
        raise InvalidUrl("The path of the URL contains characters that are not allowed; write them percent-encoded.")
    if "::" in path:
        raise InvalidUrl(f"The URL contains '::', which names a transport that is not allowed here. {_ACCEPTED}")
    decoded = unquote_to_bytes(path)
    if any(byte < 0x20 or byte == 0x7F for byte in decoded) or re.search("%(?![0-9A-Fa-f]{2})", path):
        raise InvalidUrl("The path of the URL has an encoded control character or a '%' that encodes nothing.")
    if any(step in (b".", b"..") for step in decoded.split(b"/")) or path.lstrip("/").startswith("-"):
        raise InvalidUrl("The path of the URL must not contain '.' or '..' as a step, nor start with a dash.")


def _host_and_port(place: str, default: int) -> tuple[str, int]:
    found = re.fullmatch(r"(\[[^\[\]@]*\]|[^:\[\]@]*)(?::([0-9]{1,5}))?", place)
    if not found or (found[2] and not 1 <= int(found[2]) <= 65535):
        raise InvalidUrl("Host and port of the URL can't be read: the port is a number from 1 to 65535.")
    return found[1], int(found[2]) if found[2] else default


def _checked_host(name: str) -> str:
    """The host in lower case, without brackets. Raises InvalidUrl where programs could read it as different hosts."""
    if not name or name == "[]":
        raise InvalidUrl(f"The URL names no host. {_ACCEPTED}")
    if name.startswith("["):
        try:
            return str(ipaddress.IPv6Address(name[1:-1])) if "%" not in name else _refuse_host()
        except ValueError:
            _refuse_host()
    labels = name.lower().split(".")
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        _refuse_host()
    # A name that ends in a number is an IPv4 address to most programs, in octal, hexadecimal or short forms too
    # (https://url.spec.whatwg.org/#ends-in-a-number-checker): only the one spelling that all of them read alike is taken.
    if re.fullmatch("[0-9]+|0x[0-9a-f]*", labels[-1]):
        try:
            return str(ipaddress.IPv4Address(name))
        except ValueError:
            _refuse_host()
    return ".".join(labels)


def _refuse_host() -> str:
    raise InvalidUrl("The host of the URL is not a plain host name or IP address (international names in their xn-- form).")
