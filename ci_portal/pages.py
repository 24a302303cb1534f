"""`/` and `/repos/<name>/`: repositories in the browser, with what became of them."""

from __future__ import annotations

from collections.abc import Iterable

from django.core.paginator import Paginator
from django.db.models import OuterRef, Q, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils.translation import gettext as _

from accounts.pages import page
from events.models import Event
from logs.models import Log
from repos.forms import RepositoryForm
from repos.models import Repository

PAGE_SIZE = 25
RECENT = 20
#: Characters of a search; each word of it makes the query deeper.
LONGEST_SEARCH = 200


def _search(words: str) -> QuerySet[Repository]:
    """Repositories whose names, URL or description hold every word, each with the id of its last event."""
    found = Repository.objects.all()
    for word in dict.fromkeys(words.split()):
        found = found.filter(
            Q(repo_name__icontains=word) | Q(repo__icontains=word) | Q(name__icontains=word) | Q(desc__icontains=word)
        )
    last = Event.objects.filter(repo=OuterRef("repo_name")).order_by("-id").values("id")[:1]
    return found.annotate(last_event_id=Subquery(last))


def _with_last_events(repositories: Iterable[Repository]) -> list[tuple[Repository, Event | None]]:
    """Pair each repository with its last event, in one query for all."""
    rows = list(repositories)
    ids = [row.last_event_id for row in rows]  # type: ignore[attr-defined]  # annotated above
    events = Event.objects.in_bulk([pk for pk in ids if pk])
    return [(row, events.get(pk)) for row, pk in zip(rows, ids, strict=True)]


@page
def home(request: HttpRequest) -> HttpResponse:
    """Add a repository; all repositories with their last event."""
    query = request.GET.get("q", "").strip()[:LONGEST_SEARCH]
    number = Paginator(_search(query), PAGE_SIZE).get_page(request.GET.get("page"))
    context = {
        "section": "repositories",
        "form": RepositoryForm(auto_id="add_%s"),
        "query": query,
        "number": number,
        "rows": _with_last_events(number.object_list),
    }
    return render(request, "ci_portal/home.html", context)


def _shown(setting: str | bool) -> str:
    return setting if isinstance(setting, str) else _("yes") if setting else ""


@page
def repository(request: HttpRequest, name: str) -> HttpResponse:
    """One repository: its settings, its last events, its history."""
    found = get_object_or_404(Repository.objects.named(name))
    context = {
        "section": "repositories",
        "repository": found,
        "settings": [(field.label, _shown(getattr(found, field.name))) for field in RepositoryForm() if hasattr(found, field.name)],
        "events": Event.objects.filter(repo=found.repo_name).order_by("-id")[:RECENT],
        "history": Log.objects.filter(repository_id=found.repo_name).order_by("-id")[:RECENT],
    }
    return render(request, "repos/repository.html", context)
