"""Times on the wire: the original's `%Y%m%d %H%M%S` in the configured time zone, and ISO 8601 in UTC beside it (SPEC section 1)."""

from __future__ import annotations

import re
from datetime import UTC, datetime, tzinfo
from typing import Any

from django import forms
from django.utils import timezone
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

LEGACY = "%Y%m%d %H%M%S"
_LEGACY = re.compile(r"[0-9]{8} [0-9]{6}", re.ASCII)
#: An adopted table may hold a MySQL TIMESTAMP, which ends in January 2038.
YEARS = range(1970, 2038)


def legacy(moment: datetime) -> str:
    """The moment as the original showed it, in the configured time zone."""
    return moment.astimezone(timezone.get_default_timezone()).strftime(LEGACY)


def parse(text: str, zone: tzinfo) -> datetime:
    """Read the legacy format or ISO 8601; what names no offset is in `zone`. Raises ValueError."""
    if _LEGACY.fullmatch(text):
        moment = datetime.strptime(text, LEGACY)
    elif text[4:5] == "-":
        moment = datetime.fromisoformat(text)
    else:
        raise ValueError("neither format")
    aware = moment if moment.tzinfo else moment.replace(tzinfo=zone)
    if aware.year not in YEARS:
        raise ValueError("out of range")
    return aware.astimezone(UTC)


@extend_schema_field({"type": ["string", "null"], "examples": ["20211125 151700"], "description": "In the portal's time zone."})
class LegacyTime(serializers.Field):
    """A time in the original's format; written it may also be ISO 8601 with its offset. Not given: the time of writing."""

    default_error_messages = {"invalid": "must be a time like 20211125 151700 (or ISO 8601), from 1970 to 2037."}

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("required", False)
        super().__init__(**kwargs)

    def to_representation(self, value: datetime) -> str:
        """Write it."""
        return legacy(value)

    def to_internal_value(self, data: Any) -> datetime:
        """Read it."""
        try:
            return parse(str(data).strip(), timezone.get_default_timezone())
        except ValueError:
            self.fail("invalid")


class UtcTime(serializers.DateTimeField):
    """A read-only time, ISO 8601 in UTC."""

    def __init__(self, **kwargs: Any) -> None:
        kept = {key: kwargs[key] for key in ("source", "allow_null", "help_text") if key in kwargs}
        super().__init__(read_only=True, default_timezone=UTC, **kept)


class TimeParameter(forms.Field):
    """A time in a query; `zone` is for one that names no offset (None: the configured time zone)."""

    def __init__(self, *, zone: tzinfo | None = None, **kwargs: Any) -> None:
        self.zone = zone
        super().__init__(**kwargs)

    def to_python(self, value: Any) -> datetime | None:
        """Read it; "" is no restriction."""
        if value in self.empty_values:
            return None
        try:
            return parse(str(value).strip(), self.zone or timezone.get_default_timezone())
        except ValueError:
            message = "must be a time like 20211125 151700 or 2021-11-25T15:17:00Z (the + of an offset percent-encoded)."
            raise forms.ValidationError(message, code="invalid") from None
