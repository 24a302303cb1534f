"""`/repos/<name>/`: one repository in the browser, with its settings to change, and what deleting it means."""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import mean
from typing import Any
from zlib import crc32

from django.db.models import Count, Sum
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils.translation import gettext as _

from accounts.pages import builder_page, page
from accounts.roles import Level, level_of
from ci_portal.api.live import HEADER as LIVE
from ci_portal.api.live import render_live
from ci_portal.badge import badge_path
from events.models import Event
from events.recent import Build, expected_seconds, recent
from logs.models import Log
from repos.forms import RepositoryForm
from repos.models import Credential, Repository

#: Builds that the trend looks back at, and those of them that are listed.
TREND, LISTED = 40, 15
HISTORY = 20
#: What only an admin may change (`RepositorySerializer`).
GUARDED = ("repo_name", "repo", "ca_secret")


@dataclass(frozen=True, slots=True)
class Overview:
    """What the last builds of a repository say together."""

    builds: list[Build]  # newest first

    @property
    def ended(self) -> list[Build]:
        """Those with an outcome."""
        return [build for build in self.builds if build.event.status in Event.FINAL]

    @property
    def success_percent(self) -> int | None:
        """How many of those that were not cancelled succeeded; None where there are none."""
        judged = [build.event.status for build in self.builds if build.event.status in (Event.SUCCEEDED, Event.FAILED)]
        return round(100 * judged.count(Event.SUCCEEDED) / len(judged)) if judged else None

    @property
    def average(self) -> float | None:
        """Seconds that a success takes."""
        took = [build.seconds for build in self.builds if build.event.status == Event.SUCCEEDED and build.seconds is not None]
        return mean(took) if took else None

    @property
    def expected(self) -> float | None:
        """Seconds that the next build may take."""
        return expected_seconds(self.builds)

    @property
    def longest(self) -> float | None:
        """Seconds that the longest took."""
        return max((build.seconds for build in self.ended if build.seconds is not None), default=None)

    @property
    def last_success(self) -> Build | None:
        """The newest that succeeded."""
        return next((build for build in self.builds if build.event.status == Event.SUCCEEDED), None)

    @property
    def rows(self) -> list[Build]:
        """The newest, those that are not over with the time that they may take."""
        expected = self.expected
        return [replace(build, expected=expected) if build.event.is_active else build for build in self.builds[:LISTED]]

    @property
    def version(self) -> str:
        """Changes whenever any of this does."""
        return f"{crc32(repr([build.version for build in self.builds]).encode()):08x}"


def _shown(setting: str | bool) -> str:
    return setting if isinstance(setting, str) else _("yes") if setting else ""


def _settings(found: Repository) -> list[tuple[Any, str]]:
    """Label and value of each setting that has one, but for those that the page's head shows."""
    fields = [field for field in RepositoryForm() if field.name not in ("repo_name", "repo", "desc", "name")]
    rows = [(field.label, _shown(getattr(found, field.name))) for field in fields if hasattr(found, field.name)]
    return [(label, value) for label, value in rows if value]


def _history(found: Repository, before: str) -> tuple[list[Log], int | None]:
    """A page of the repository's history, and the id to go on from to what is older."""
    lines = Log.objects.filter(repository_id=found.repo_name).order_by("-id")
    if before.isascii() and before.isdigit() and len(before) <= 18:
        lines = lines.filter(pk__lt=int(before))
    rows = list(lines[: HISTORY + 1])
    return rows[:HISTORY], rows[HISTORY - 1].pk if len(rows) > HISTORY else None


@page
def repository(request: HttpRequest, name: str) -> HttpResponse:
    """One repository: its last builds and what they say together, its settings, its history."""
    found = get_object_or_404(Repository.objects.named(name))
    overview = Overview(recent([found.repo_name], TREND).get(found.repo_name, []))
    context: dict[str, Any] = {"section": "repositories", "repository": found, "overview": overview}
    if LIVE not in request.headers:
        history, older = _history(found, request.GET.get("history", ""))
        badge = badge_path(found)
        address, page_address = (request.build_absolute_uri(path) for path in (badge, request.path))
        context |= {
            "settings": _settings(found),
            "credentials": list(found.credentials.order_by("kind")),
            "history": history,
            "older": older,
            "paged": "history" in request.GET,
            "badge": badge,
            "badge_markdown": f"[![{found.repo_name}]({address})]({page_address})",
        }
    state = (level_of(request), overview.version)
    return render_live(request, "repos/repository.html", "repos/_repository.html", context, state)


@dataclass(frozen=True, slots=True)
class Belongings:
    """What there is of a repository besides its row."""

    events: int
    runs: int
    output: int  # bytes
    active: int  # events without an outcome: until they end, it can't be deleted


def _belongings(found: Repository) -> Belongings:
    events = Event.objects.filter(repo=found.repo_name)
    counted = events.aggregate(attempts=Count("runs"), printed=Sum("runs__output__size"))
    return Belongings(events.count(), counted["attempts"], counted["printed"] or 0, found.events.active().count())


@builder_page
def edit(request: HttpRequest, name: str) -> HttpResponse:
    """Change a repository's settings and credentials, or delete it; the browser sends what was changed to `/repo/`."""
    found = get_object_or_404(Repository.objects.named(name))
    form = RepositoryForm(auto_id="edit_%s", initial={field: getattr(found, field, "") for field in RepositoryForm.base_fields})
    admin = level_of(request) >= Level.ADMIN
    for field in () if admin else GUARDED:
        form.fields[field].disabled = True
    stored = {credential.kind: credential for credential in found.credentials.all()}
    context = {
        "section": "repositories",
        "repository": found,
        "form": form,
        "logins": [
            ("git", _("Git user and token, for https"), [form["git_user"], form["git_token"]], stored.get(Credential.GIT)),
            ("key", _("Deploy key, for ssh"), [form["deploy_key"]], stored.get(Credential.SSH_KEY)),
        ],
        "belongings": _belongings(found) if admin else None,
    }
    return render(request, "repos/edit.html", context)
