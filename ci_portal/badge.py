"""`/repos/<name>/badge.svg`: the state of a repository's last build, small enough for a README."""

from __future__ import annotations

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.crypto import constant_time_compare, salted_hmac
from django.utils.html import format_html
from django.views.decorators.cache import cache_control
from django.views.decorators.http import conditional_page, require_safe

from accounts.roles import Level, level_of
from events.models import Event
from repos.models import Repository

COLOURS = {"succeeded": "#1a7f45", "failed": "#c0282d", "cancelled": "#5f6773"}
LABEL = "build"
#: Pixels of a narrow letter and of another in the badge's font, about; textLength makes up for what they really are.
NARROW, WIDE, MARGIN = 3.4, 6.9, 12


def badge_key(found: Repository) -> str:
    """What in a badge's address stands for a login: image proxies have none. It opens this badge and nothing else."""
    return salted_hmac("ci_portal.badge", str(found.pk), algorithm="sha256").hexdigest()[:32]


def badge_path(found: Repository) -> str:
    """The badge's address on this portal, as it can be shown anywhere."""
    path = reverse("badge", args=[found.repo_name])
    return f"{path}?key={badge_key(found)}" if settings.PORTAL.auth.mode == "required" else path


@require_safe
@cache_control(no_cache=True)
@conditional_page
def badge(request: HttpRequest, name: str) -> HttpResponse:
    """The last outcome, of one branch where `branch` names it; to whoever may read, or has the address with its key."""
    found = Repository.objects.named(name).first()
    if found is None:
        raise Http404
    if level_of(request) < Level.READ and not constant_time_compare(request.GET.get("key", ""), badge_key(found)):
        raise Http404  # as if it were not there: nobody learns which names there are
    ended = Event.objects.filter(repo=found.repo_name, status__in=Event.FINAL)
    if branch := request.GET.get("branch", ""):
        ended = ended.filter(ref=f"refs/heads/{branch}")
    last = ended.order_by("-pk").first()
    return HttpResponse(_svg(last.status_label if last else "not built"), content_type="image/svg+xml")


def _svg(state: str) -> str:
    left, right = (round(sum(NARROW if letter in "fijlt " else WIDE for letter in words)) + MARGIN for words in (LABEL, state))
    return format_html(
        '<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="20" role="img" aria-label="{label}: {state}">'
        '<rect width="{width}" height="20" rx="4" fill="{colour}"/>'
        '<path d="M4 0h{inner}v20H4a4 4 0 0 1-4-4V4a4 4 0 0 1 4-4z" fill="#3a414c"/>'
        '<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11" text-anchor="middle">'
        '<text x="{left_middle}" y="14" textLength="{left_text}">{label}</text>'
        '<text x="{right_middle}" y="14" textLength="{right_text}">{state}</text></g></svg>',
        width=left + right,
        label=LABEL,
        state=state,
        colour=COLOURS.get(state, "#5f6773"),
        inner=left - 4,
        left_middle=left / 2,
        left_text=left - MARGIN,
        right_middle=left + right / 2,
        right_text=right - MARGIN,
    )
