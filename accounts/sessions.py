"""Sessions in the database, as Django's own, in a table that also says whose they are.

https://docs.djangoproject.com/en/5.2/topics/http/sessions/#extending-database-backed-session-engines
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends import db
from django.http import HttpRequest
from django.utils import timezone

from accounts.models import BrowserSession
from accounts.sender import address_of, current_request

#: In the session itself: when and with what its user logged in.
STARTED = "_started"


class SessionStore(db.SessionStore):
    """Django's `SESSION_ENGINE` db; each row carries its user, device and address too."""

    #: The row as it was read for this request.
    row: BrowserSession | None = None

    @classmethod
    def get_model_class(cls) -> type[BrowserSession]:
        """The table."""
        return BrowserSession

    def _get_session_from_db(self) -> BrowserSession | None:
        self.row = super()._get_session_from_db()
        return self.row

    def create_model_instance(self, data: dict[str, Any]) -> BrowserSession:
        """The row of this session with what it holds now."""
        row: BrowserSession = super().create_model_instance(data)  # type: ignore[assignment]
        started = data.get(STARTED) or {}
        request = current_request()
        row.user_id = data.get(SESSION_KEY)
        row.created_at = datetime.fromisoformat(started["at"]) if started else timezone.now()
        row.agent = started.get("agent", "")
        row.seen_at = timezone.now()
        row.address = address_of(request) if request else started.get("address", "")
        return row


def start(request: HttpRequest) -> None:
    """Note in the session when, from where and with what browser its user has just logged in."""
    request.session[STARTED] = {
        "at": timezone.now().isoformat(),
        "agent": request.headers.get("User-Agent", "")[:300],
        "address": address_of(request),
    }


def end(user: Any, *, but: str = "") -> int:
    """End a user's sessions, all but the one with this key; returns how many. Whoever uses one has to log in again."""
    return BrowserSession.objects.filter(user=user).exclude(session_key=but).delete()[0]


def mark_seen(request: HttpRequest) -> None:
    """Note that a logged-in session is used, once a minute at most: pages must stay cheap."""
    row = getattr(request.session, "row", None)
    if row is not None and row.user_id and timezone.now() - row.seen_at > timedelta(minutes=1):
        BrowserSession.objects.filter(pk=row.pk).update(seen_at=timezone.now(), address=address_of(request))
