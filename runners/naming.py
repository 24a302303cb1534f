"""Names that follow from a repository, an event or a run. Pure functions.

Limits: a Kubernetes name that also labels its Pods has at most 63 characters (RFC 1123 label,
https://kubernetes.io/docs/concepts/overview/working-with-objects/names/), an event's name 100 (SPEC section 1). What is longer is
cut, and a short hash of the whole keeps two long names apart.
"""

from __future__ import annotations

import hashlib
import re
import string
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import product

LABEL_LIMIT = 63
EVENT_LIMIT = 100
#: Of the last part of an image's name, where it follows from a repository's: host and path fit beside it in event.image.
IMAGE_LIMIT = 100


def shorten(text: str, limit: int) -> str:
    """Return `text`, or its beginning and six hexadecimal digits of its SHA-256 where it is longer than `limit`."""
    if len(text) <= limit:
        return text
    return f"{text[: limit - 7].rstrip('-')}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"


def slug(repo_name: str) -> str:
    """Return the name in lower case letters, digits and single hyphens, as image and object names allow."""
    text = re.sub(r"[^a-z0-9]+", "-", repo_name.lower()).strip("-")
    return text or f"repo-{hashlib.sha256(repo_name.encode()).hexdigest()[:6]}"


def job_name(base: str, run_uid: str) -> str:
    """Return the name of a run's Job: what the repository asked for and eight digits of the run's own identity."""
    return f"{shorten(slug(base), LABEL_LIMIT - 9)}-{run_uid[:8]}"


def event_name(repo_name: str, stamp: str) -> str:
    """Return the event's name, like event-prometh-exporter-buildv202111251517."""
    return f"event-{shorten(slug(repo_name), EVENT_LIMIT - len(stamp) - 7)}-{stamp}"


def stamps(now: datetime) -> Iterator[str]:
    """Yield buildv<YYYYMMDDHHMM> and what to take where it is taken: with a to zz behind it, then the next minute's.

    At most 20 characters, the original width of event.Image_tag. `now` is in the zone that people read.
    """
    suffixes = ["", *string.ascii_lowercase, *map("".join, product(string.ascii_lowercase, repeat=2))]
    while True:
        for suffix in suffixes:
            yield f"buildv{now:%Y%m%d%H%M}{suffix}"
        now += timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class ImageName:
    """An image's name in the three parts that a run keeps (SPEC section 10)."""

    registry: str  # host[:port], "" for an OCI layout on disk
    repository: str  # the path between, may be ""
    name: str  # the last part

    def __str__(self) -> str:
        return "/".join(part for part in (self.registry, self.repository, self.name) if part)


def image_name(image: str, repo_name: str, address: str, repository: str) -> ImageName:
    """Split a repository's `image`; empty, it is <address>/<repository>/<slug of repo_name>.

    A first part is a host where it holds a dot, a colon or a capital or is localhost, as in every container tool's grammar
    (https://github.com/distribution/reference); a name without a host belongs to the configured registry.
    """
    path = image or "/".join(part for part in (repository.strip("/"), shorten(slug(repo_name), IMAGE_LIMIT)) if part)
    first, _, rest = path.partition("/")
    host = address
    if image and rest and ("." in first or ":" in first or first == "localhost" or first != first.lower()):
        host, path = first, rest
    before, _, name = path.rpartition("/")
    return ImageName(host, before, name)


def image_tag(git_tag: str) -> str:
    """Return the image tag for a git tag: the same text where the OCI grammar allows it, else with hyphens where it does not.

    Grammar: https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests, at most 128 characters.
    """
    text = re.sub(r"[^A-Za-z0-9_.-]", "-", git_tag)
    return shorten(text if re.match(r"[A-Za-z0-9_]", text) else f"_{text}", 128)
