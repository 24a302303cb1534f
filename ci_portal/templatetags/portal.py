"""How states, times and commits are shown on every page, and the texts that scripts show."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django import template
from django.templatetags.static import static
from django.utils import formats, timezone
from django.utils.dateparse import parse_datetime
from django.utils.functional import Promise
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timesince import timesince
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, pgettext, pgettext_lazy

from ci_portal.api.sentences import told
from ci_portal.script_texts import script_texts

register = template.Library()

STATE_NAMES: dict[str, str | Promise] = {
    "waiting": gettext_lazy("waiting"),
    "launching": gettext_lazy("launching"),
    "running": gettext_lazy("running"),
    "succeeded": gettext_lazy("succeeded"),
    "failed": gettext_lazy("failed"),
    "cancelled": gettext_lazy("cancelled"),
}

PHASE_NAMES: dict[str, str | Promise] = {
    "waiting": gettext_lazy("waiting"),
    "running": gettext_lazy("running"),
    "clone": pgettext_lazy("phase", "clone"),
    "build": pgettext_lazy("phase", "build"),
    "push": pgettext_lazy("phase", "push"),
    "build_push": pgettext_lazy("phase", "build and push"),
    "scheduling": pgettext_lazy("phase", "scheduling"),
    "starting": pgettext_lazy("phase", "starting"),
    "confirming": pgettext_lazy("phase", "confirming"),
}

PHASE_STATES: dict[str, str | Promise] = {
    "done": pgettext_lazy("phase", "done"),
    "running": pgettext_lazy("phase", "under way"),
    "failed": pgettext_lazy("phase", "failed"),
    "stopped": pgettext_lazy("phase", "stopped"),
    "coming": pgettext_lazy("phase", "to come"),
    "missed": pgettext_lazy("phase", "not reached"),
}

#: Before the title of a page that is about a state: tabs are narrow.
STATE_MARKS = {"waiting": "◌", "launching": "◌", "running": "●", "succeeded": "✓", "failed": "✗", "cancelled": "⊘"}


register.filter("told", told)


@register.simple_tag
def icon(name: str) -> SafeString:
    """Draw one symbol of icons.svg; words always stand beside it, so screen readers skip it."""
    return format_html(
        '<svg class="icon icon-{0}" aria-hidden="true" width="16" height="16"><use href="{1}#{0}"></use></svg>',
        name,
        static("ci_portal/icons.svg"),
    )


@register.simple_tag
def state(label: str) -> SafeString:
    """Show a state as icon and words; one that only another tool knows is shown as it stands."""
    known = label in STATE_NAMES
    return format_html(
        '<span class="state state-{}">{} <span>{}</span></span>',
        label if known else "unknown",
        icon(label if known else "unknown"),
        STATE_NAMES.get(label, label) or pgettext("state", "unknown"),
    )


@register.filter
def state_name(label: str) -> str:
    """Return a state's name in the reader's language."""
    return str(STATE_NAMES.get(label, label))


@register.filter
def phase_name(name: str) -> str:
    """Return the name of a part of a run's time in the reader's language."""
    return str(PHASE_NAMES.get(name, name))


@register.filter
def phase_state(name: str) -> str:
    """Return how a part of a run stands, in the reader's language."""
    return str(PHASE_STATES.get(name, name))


@register.simple_tag
def state_mark(label: str) -> str:
    """Return the one sign that stands for a state in a title."""
    return STATE_MARKS.get(label, "?")


@register.filter
def moment(text: str) -> datetime | None:
    """Return the moment that an ISO 8601 text tells; None where it is none."""
    return parse_datetime(text or "")


@register.simple_tag
def favicon(label: str = "") -> str:
    """Return the address of the page's icon: the state that the page is about, or the portal's own."""
    return static(f"ci_portal/favicon-{label}.svg" if label in STATE_NAMES else "ci_portal/favicon.svg")


@register.simple_tag
def when(moment: datetime | None) -> SafeString:
    """Show how long ago it was, with the exact time on hover: in the portal's zone, until times.js tells both in the reader's."""
    if moment is None:
        return format_html('<span class="muted">{}</span>', _("unknown"))
    recent = timezone.now() - moment < timedelta(minutes=1)
    return _time("data-ago", moment, _("just now") if recent else _("%(time)s ago") % {"time": timesince(moment, depth=1)})


@register.simple_tag
def day(moment: datetime | None) -> SafeString:
    """Show a date: in the portal's zone and the language's own form, until times.js tells it in the reader's."""
    if moment is None:
        return SafeString("–")
    return _time("data-day", moment, formats.date_format(timezone.localtime(moment), "DATE_FORMAT"))


@register.simple_tag
def clock(moment: datetime | None) -> SafeString:
    """Show the time of day to the second: in the portal's zone, until times.js tells it in the reader's."""
    if moment is None:
        return SafeString("–")
    return _time('class="muted" data-clock', moment, f"{timezone.localtime(moment):%H:%M:%S}")


def _time(attributes: str, moment: datetime, text: str) -> SafeString:
    """The text of a moment, with the exact time on hover; `attributes` tell times.js how to show it."""
    local = timezone.localtime(moment)
    exact = f"{formats.date_format(local, 'Y-m-d H:i:s')} {local.tzname()}"
    return format_html('<time {} datetime="{}" title="{}">{}</time>', SafeString(attributes), moment.isoformat(), exact, text)


def seconds_in_words(seconds: float) -> str:
    """Return a duration like 12 s, 3 min 5 s or 2 h 7 min. The script that counts on uses the same three texts."""
    whole = max(0, int(seconds))
    if whole < 60:
        return _("{s} s").format(s=whole)
    if whole < 3600:
        return _("{m} min {s} s").format(m=whole // 60, s=whole % 60)
    return _("{h} h {m} min").format(h=whole // 3600, m=whole % 3600 // 60)


@register.simple_tag
def duration(start: datetime | None, end: datetime | None = None, counting: bool = True) -> SafeString:
    """Show how long it took from start to end; without an end a script goes on counting, unless told otherwise."""
    if start is None or (end is None and not counting):
        return SafeString("–")
    words = seconds_in_words(((end or timezone.now()) - start).total_seconds())
    if end:
        return format_html("<span>{}</span>", words)
    return format_html('<span data-since="{}">{}</span>', start.isoformat(), words)


@register.filter
def ref_name(ref: str) -> str:
    """Return refs/heads/main as main."""
    return ref.removeprefix("refs/heads/").removeprefix("refs/tags/")


@register.simple_tag
def texts_for_scripts() -> dict[str, Any]:
    """Return the texts that scripts show, in the reader's language (for `json_script`)."""
    return script_texts()


@register.simple_tag
def seconds(value: float | None) -> str:
    """Show a duration in words, – where there is none."""
    return "–" if value is None else seconds_in_words(value)


@register.simple_tag(takes_context=True)
def without_query(context: template.Context, name: str) -> str:
    """Return this page's address without one of its filters, from the first page."""
    query = context["request"].GET.copy()
    for each in ("page", "before", "after", name):
        query.pop(each, None)
    return f"?{query.urlencode()}" if query else context["request"].path


@register.simple_tag(takes_context=True)
def with_query(context: template.Context, **changes: Any) -> str:
    """Return this page's query string with the changes made; a changed filter starts over at the first page."""
    query = context["request"].GET.copy()
    for name in ("page", "before", "after"):
        query.pop(name, None)
    for name, value in changes.items():
        query[name] = str(value)
        if value == "":
            del query[name]
    return f"?{query.urlencode()}"
