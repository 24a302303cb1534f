"""`/credentials/`: for admins, how old credentials are, when they were used last, and when certificates end."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.core.paginator import Paginator
from django.db.models import F, Min, Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from accounts.pages import admin_page
from repos.credentials import is_readable
from repos.models import Credential, Repository
from runners.backend import bundle, configured_backend
from runners.certificates import Certificates, expiry

PAGE_SIZE = 50
#: A certificate that ends sooner is warned of.
SOON = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Stored:
    """One credential: everything about it but what it is."""

    credential: Credential
    readable: bool
    old: bool  # stored longer ago than secrets.max_age_days


@dataclass(frozen=True, slots=True)
class Trusted:
    """One certificate."""

    name: str
    ends: datetime | None = None
    why: str = ""  # it is not known when it ends

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.ends is not None and self.ends <= timezone.now()

    @property
    def soon(self) -> bool:
        """Whether it ends within SOON."""
        return self.ends is not None and timezone.now() < self.ends <= timezone.now() + SOON


@dataclass(frozen=True, slots=True)
class Line:
    """One repository."""

    repository: Repository
    stored: list[Stored]
    trusted: Trusted | None

    @property
    def needs_care(self) -> bool:
        """Whether anything of it is old, unreadable, missing or ends soon."""
        certificate = self.trusted is not None and (self.trusted.over or self.trusted.soon or bool(self.trusted.why))
        return certificate or any(stored.old or not stored.readable for stored in self.stored)


@require_safe
@admin_page
def credentials(request: HttpRequest) -> HttpResponse:
    """Show them, whose credentials are the oldest first."""
    query = request.GET.get("q", "").strip()[:150]
    held = Repository.objects.filter(Q(credentials__isnull=False) | ~Q(ca_secret="") & Q(ca_secret__isnull=False))
    found = held.filter(repo_name__icontains=query).annotate(oldest=Min("credentials__created_at"))
    rows = found.order_by(F("oldest").asc(nulls_last=True), "repo_name").prefetch_related("credentials")
    number = Paginator(rows, PAGE_SIZE).get_page(request.GET.get("page"))
    certificates = Certificates(configured_backend())
    lines = [_line(repository, certificates) for repository in number.object_list]
    own = bundle()
    context = {
        "section": "administration",
        "part": "credentials",
        "query": query,
        "number": number,
        "lines": lines,
        "care": sum(line.needs_care for line in lines),
        "days": settings.PORTAL.secrets.max_age_days,
        "own": Trusted("git.ca_bundle", expiry(own)) if own else None,
    }
    return render(request, "repos/credentials.html", context)


def _line(repository: Repository, certificates: Certificates) -> Line:
    trusted = Trusted(repository.ca_secret, *certificates.look(repository.ca_secret)) if repository.ca_secret else None
    kept = sorted(repository.credentials.all(), key=lambda credential: credential.kind)
    return Line(repository, [Stored(one, is_readable(one), _is_old(one)) for one in kept], trusted)


def _is_old(credential: Credential) -> bool:
    days = settings.PORTAL.secrets.max_age_days
    return bool(days) and credential.created_at < timezone.now() - timedelta(days=days)
