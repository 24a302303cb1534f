"""Text on the wire: never NULL, no control characters, no login hidden in a URL."""

from __future__ import annotations

import re
from typing import Any

from rest_framework import serializers

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_CONTROL_BUT_LINES = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
# Both start at a literal and end before the next slash, so that no text takes more than one pass.
_HTTP_LOGIN = re.compile(r"(https?://)[^/?#@\s]+@", re.IGNORECASE)
_OTHER_PASSWORD = re.compile(r"(://[^/?#@:\s]*):[^/?#@\s]+@")


def without_logins(text: str) -> str:
    """The text with each URL's `user:password@` taken out; the user of an ssh URL stays, it is no secret."""
    return _OTHER_PASSWORD.sub(r"\1@", _HTTP_LOGIN.sub(r"\1", text))


class Text(serializers.CharField):
    """One line of text. null reads as "", and a login in a URL is taken out before anything is stored."""

    default_error_messages = {"control": "must not contain control characters."}
    control = _CONTROL
    keeps_logins = False

    def validate_empty_values(self, data: Any) -> tuple[bool, Any]:
        """Read null as the empty text (SPEC section 10)."""
        return super().validate_empty_values("" if data is None else data)

    def run_validation(self, data: Any = serializers.empty) -> Any:
        """Validate; null is as good as the empty text."""
        return super().run_validation("" if data is None else data)

    def to_internal_value(self, data: Any) -> str:
        """Read it."""
        text: str = super().to_internal_value(data)
        if self.control.search(text):
            self.fail("control")
        return text if self.keeps_logins else without_logins(text)


class FreeText(Text):
    """Text that may have several lines, kept with its spaces."""

    control = _CONTROL_BUT_LINES

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("trim_whitespace", False)
        super().__init__(**kwargs)


class Secret(Text):
    """Text that is stored encrypted and never shown again."""

    keeps_logins = True

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(write_only=True, required=False, allow_blank=True, trim_whitespace=False, **kwargs)


class SecretKey(Secret):
    """A secret of several lines, like a private key."""

    control = _CONTROL_BUT_LINES
