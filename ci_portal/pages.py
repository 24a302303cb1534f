"""`/`: repositories in the browser, with what became of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from zlib import crc32

from django.core.paginator import Paginator
from django.db.models import F, OuterRef, Q, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext_lazy as _

from accounts.pages import page
from accounts.roles import level_of
from ci_portal.api.live import render_live
from events.models import Event
from events.recent import Build, expected_seconds, recent
from repos.forms import RepositoryForm
from repos.models import Repository

PAGE_SIZE = 25
#: Builds that the plot of a row shows.
LOOK_BACK = 12
#: Characters of a search; each word of it makes the query deeper.
LONGEST_SEARCH = 200
SORTS: dict[str, tuple[Any, list[Any]]] = {
    "recent": (_("Last built"), [F("last_event_id").desc(nulls_last=True), "-id"]),
    "name": (_("Name"), ["repo_name"]),
    "added": (_("Last added"), ["-id"]),
}


@dataclass(frozen=True, slots=True)
class Row:
    """A repository with its last builds, newest first."""

    repository: Repository
    builds: list[Build]

    @property
    def last(self) -> Build | None:
        """Its last build, with the time that it may take."""
        if not self.builds:
            return None
        last = self.builds[0]
        return Build(last.event, last.started_at, last.cancelling, last.attempt, expected_seconds(self.builds))

    @property
    def version(self) -> str:
        """Changes whenever what the list shows of it does."""
        shown = (self.repository.repo_name, self.repository.name, self.repository.repo, [build.version for build in self.builds])
        return f"{crc32(repr(shown).encode()):08x}"


def _search(words: str) -> QuerySet[Repository]:
    """Repositories whose names, URL or description hold every word, each with the id of its last event."""
    found = Repository.objects.all()
    for word in dict.fromkeys(words.split()):
        found = found.filter(
            Q(repo_name__icontains=word) | Q(repo__icontains=word) | Q(name__icontains=word) | Q(desc__icontains=word)
        )
    last = Event.objects.filter(repo=OuterRef("repo_name")).order_by("-id").values("id")[:1]
    return found.annotate(last_event_id=Subquery(last))


def _rows(repositories: Iterable[Repository]) -> list[Row]:
    """Each repository with its last builds, in two queries for all."""
    shown = list(repositories)
    builds = recent([repository.repo_name for repository in shown], LOOK_BACK)
    return [Row(repository, builds.get(repository.repo_name, [])) for repository in shown]


@page
def home(request: HttpRequest) -> HttpResponse:
    """Add a repository; all repositories with their last builds."""
    query = request.GET.get("q", "").strip()[:LONGEST_SEARCH]
    sort = request.GET.get("sort", "")
    sort = sort if sort in SORTS else "recent"
    number = Paginator(_search(query).order_by(*SORTS[sort][1]), PAGE_SIZE).get_page(request.GET.get("page"))
    rows = _rows(number.object_list)
    context = {
        "section": "repositories",
        "form": RepositoryForm(auto_id="add_%s"),
        "query": query,
        "sort": sort,
        "sorts": [(name, label) for name, (label, _order) in SORTS.items()],
        "number": number,
        "rows": rows,
    }
    state = (level_of(request), [(row.repository.pk, row.version) for row in rows], number.number, number.paginator.num_pages)
    return render_live(request, "ci_portal/home.html", "repos/_list.html", context, state)
