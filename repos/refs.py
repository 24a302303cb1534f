"""Names that a repository is described with: each function raises ValueError with a sentence where a name can't be used.

An empty name is fine for none of them: whether a field may be empty is its owner's decision.
"""

from __future__ import annotations

import re
from ipaddress import ip_address

#: Of SHA-1 and of SHA-256, in full.
OBJECT_ID = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_REF_FORBIDDEN = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests
_IMAGE_PART = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")
_IMAGE_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_REGISTRY = re.compile(
    r"(?P<host>\[[0-9A-Fa-f:.]+\]|(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*)"
    r"(?::(?P<port>[0-9]{1,5}))?"
)
_DNS_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


def check_branch(name: str) -> None:
    """Refuse what git does not allow as a branch's name (https://git-scm.com/docs/git-check-ref-format)."""
    _check_ref(name, "branch")
    if name == "HEAD":
        raise ValueError("HEAD is not a branch: leave the branch empty to build the remote's default one.")


def check_tag(name: str) -> None:
    """Refuse what git does not allow as a tag's name."""
    _check_ref(name, "tag")


def _check_ref(name: str, what: str) -> None:
    if name.startswith("refs/"):
        raise ValueError(f"Give the {what} by its short name, without refs/… in front.")
    if not name or name == "@" or _REF_FORBIDDEN.search(name):
        raise ValueError(
            f"A {what} can't be empty or contain spaces, control characters, '..', '@{{', '//' or any of ~ ^ : ? * [ \\."
        )
    if name.startswith(("-", "/")) or name.endswith(("/", ".")):
        raise ValueError(f"A {what} can't start with '-' or '/', nor end with '/' or '.'.")
    if any(step.startswith(".") or step.endswith(".lock") for step in name.split("/")):
        raise ValueError(f"No part of a {what} can start with '.' or end with '.lock'.")


def check_path(path: str) -> None:
    """Refuse a path that is not plainly inside the checkout; "." is its root. Symlinks are looked at where the tree is known."""
    if not path or _CONTROL.search(path):
        raise ValueError("A path can't be empty or contain control characters.")
    if path.startswith("/") or "\\" in path or re.match("[A-Za-z]:", path):
        raise ValueError("The path must be relative to the repository's root, with '/' between its parts.")
    if ".." in path.split("/"):
        raise ValueError("The path must stay inside the repository: '..' is not allowed.")
    if path.startswith("-") or ".git" in path.lower().split("/"):
        raise ValueError("The path can't start with '-' or lead into .git.")


def normal_path(path: str) -> str:
    """The path without empty and "." steps, like docker/api for ./docker//api/; "." for the root. Raises ValueError."""
    check_path(path)
    return "/".join(step for step in path.split("/") if step not in ("", ".")) or "."


def check_image(name: str) -> None:
    """Refuse what is not an image's name without tag: [host[:port]/]path, the path in lower case.

    The grammar is https://github.com/distribution/reference; which part is a host is decided as there.
    """
    if "@" in name or ":" in name.rpartition("/")[2]:
        raise ValueError("Give the image without a tag or digest.")
    host = registry_of(name)
    path = name[len(host) + 1 :] if host else name
    if host and not _is_registry(host):
        raise ValueError("The registry in front of the image's name is not a host name or IP address with an optional port.")
    if len(path) > 255 or not all(_IMAGE_PART.fullmatch(part) for part in path.split("/")):
        raise ValueError(
            "The image's name is made of lower-case letters and digits, with '.', '_', '__' or '-' between them"
            " and '/' between its parts, at most 255 characters."
        )


def registry_of(image: str) -> str:
    """The host[:port] in front of an image's name, "" where there is none."""
    first, slash, _ = image.partition("/")
    return first if slash and (first == "localhost" or "." in first or ":" in first or first != first.lower()) else ""


def _is_registry(text: str) -> bool:
    found = _REGISTRY.fullmatch(text)
    if not found or (found["port"] and not 1 <= int(found["port"]) <= 65535) or len(found["host"]) > 253:
        return False
    host = found["host"].strip("[]")
    if host == found["host"] and not re.fullmatch(r"(?i)[0-9]+|0x[0-9a-f]*", host.rpartition(".")[2]):
        return all(len(label) <= 63 for label in host.split("."))
    # A name that ends in a number is an IPv4 address to most programs, in octal or hexadecimal too: one spelling alone is taken.
    try:
        return ip_address(host).version == (4 if host == found["host"] else 6)
    except ValueError:
        return False


def check_image_tag(tag: str) -> None:
    """Refuse what is not an OCI tag."""
    if not _IMAGE_TAG.fullmatch(tag):
        raise ValueError(
            "An image's tag has at most 128 letters, digits, '_', '.' and '-', and does not start with '.' or '-':"
            " a git tag of another form can't be built as it is, since the image gets the tag's name."
        )


def check_dns_label(name: str) -> None:
    """Refuse what is not a DNS-1123 label of at most 63 characters, as names of Jobs must be."""
    if not _DNS_LABEL.fullmatch(name):
        raise ValueError("The name has at most 63 lower-case letters, digits and '-', and starts and ends with a letter or digit.")


def check_dns_name(name: str) -> None:
    """Refuse what is not a DNS-1123 subdomain of at most 253 characters, as names of Secrets must be."""
    if len(name) > 253 or not all(_DNS_LABEL.fullmatch(label) for label in name.split(".")):
        raise ValueError(
            "The name has at most 253 lower-case letters, digits, '-' and '.', and each part between dots starts and ends"
            " with a letter or digit."
        )
