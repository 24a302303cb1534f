"""Model columns of the original's tables."""

from typing import Any

from django.db import models


class TextColumn(models.CharField):
    """A text column whose NULL reads as "" (SPEC section 10): the portal writes "", adopted rows and other tools may hold NULL."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("default", "")
        kwargs.setdefault("blank", True)
        kwargs.setdefault("null", True)
        super().__init__(*args, **kwargs)

    def from_db_value(self, value: str | None, expression: Any, connection: Any) -> str:
        """Read NULL as the empty string."""
        return "" if value is None else value

    def get_prep_value(self, value: Any) -> Any:
        """Write None as the empty string."""
        return super().get_prep_value("" if value is None else value)
