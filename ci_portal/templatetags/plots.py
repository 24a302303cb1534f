"""Small plots of what became of builds and how long they took, drawn as SVG; shape tells the outcome as well as colour does."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django import template
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from ci_portal.templatetags.portal import STATE_NAMES, seconds_in_words

register = template.Library()

#: Of one bar and the space beside it, in pixels.
WIDTH, GAP = 6, 2
#: Height of a bar whose duration is not known, or almost nothing.
LEAST = 3


def _bars(builds: list[Any], places: int, height: int, width: int, gap: int) -> SafeString:
    """One bar a build, the newest on the right: as high as it took long, hollow where it failed, low where it was cancelled."""
    longest = max((build.seconds or 0 for build in builds), default=0) or 1
    drawn = []
    for place, build in enumerate(reversed(builds), places - len(builds)):
        label = build.event.status_label
        tall = LEAST if build.seconds is None or label == "cancelled" else max(LEAST, round((height - 1) * build.seconds / longest))
        x = place * (width + gap)
        kind = label if label in STATE_NAMES else "unknown"
        edge = 0.75 if kind == "failed" else 0  # a hollow bar's line runs inside of it
        drawn.append((kind, x + edge, height - tall + edge, width - 2 * edge, tall - 2 * edge, _title(build)))
    bar = '<rect class="bar-{}" x="{}" y="{}" width="{}" height="{}" rx="1"><title>{}</title></rect>'
    return format_html_join("", bar, drawn)


def _title(build: Any) -> str:
    label = str(STATE_NAMES.get(build.event.status_label, build.event.status_label))
    took = f", {seconds_in_words(build.seconds)}" if build.seconds is not None else ""
    return f"#{build.event.pk} {build.event.image_tag}: {label}{took}"


def summary(builds: Iterable[Any]) -> str:
    """The same in words: how many of the last builds ended how."""
    count: dict[str, int] = {}
    for build in builds:
        count[build.event.status_label] = count.get(build.event.status_label, 0) + 1
    parts = [f"{number} {STATE_NAMES.get(label, label)}" for label, number in count.items()]
    return _("The last {count} builds: {parts}").format(count=sum(count.values()), parts=", ".join(parts))


@register.simple_tag
def spark(builds: list[Any], most: int = 12) -> SafeString:
    """A line of the last builds' bars, as high as a line of text."""
    shown = builds[:most]
    if not shown:
        return SafeString("")
    return format_html(
        '<svg class="spark" role="img" aria-label="{}" width="{}" height="20" viewBox="0 0 {} 20">{}</svg>',
        summary(shown),
        most * (WIDTH + GAP) - GAP,
        most * (WIDTH + GAP) - GAP,
        _bars(shown, most, 20, WIDTH, GAP),
    )


@register.simple_tag
def trend(builds: list[Any], expected: float | None = None, places: int = 40) -> SafeString:
    """The last builds' durations and outcomes, as wide as its place, with a line at the usual duration."""
    width, gap, height = 14, 6, 88
    wide = places * (width + gap) - gap
    longest = max((build.seconds or 0 for build in builds), default=0) or 1
    at = round(height - (height - 1) * min(1.0, (expected or 0) / longest), 1)
    line = format_html('<line class="usual" x1="0" x2="{}" y1="{}" y2="{}"></line>', wide, at, at) if expected else ""
    return format_html(
        '<svg class="trend" role="img" aria-label="{}" viewBox="0 0 {} {}" preserveAspectRatio="none">{}{}{}</svg>',
        summary(builds),
        wide,
        height,
        format_html('<line class="ground" x1="0" x2="{}" y1="{}" y2="{}"></line>', wide, height, height),
        _bars(builds, places, height, width, gap),
        line,
    )
