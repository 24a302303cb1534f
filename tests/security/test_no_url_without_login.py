"""With auth.mode required nothing but what leads to a login, and what is the same for everyone, answers strangers."""

import re

import pytest
from django.test import Client
from django.urls import URLPattern, get_resolver

from tests.support import rows

pytestmark = pytest.mark.django_db
PUBLIC = {"login/", "logout/", "i18n/setlang/", "favicon.ico", "schema/", "docs/", "login/oidc/", "login/oidc/callback/"}
#: Each tests by itself what it tells whom: a link to choose a password, and a picture for whoever has its key.
PUBLIC |= {"users/link/<uidb64>/<token>/", "repos/<path:name>/badge.svg"}
ROUTES = [str(entry.pattern) for entry in get_resolver().url_patterns if isinstance(entry, URLPattern)]


@pytest.fixture(autouse=True)
def _required(settings):
    auth = settings.PORTAL.auth.model_copy(update={"mode": "required"})
    settings.PORTAL = settings.PORTAL.model_copy(update={"auth": auth})


@pytest.mark.parametrize("method", ["get", "head", "options", "post", "put", "patch", "delete"])
@pytest.mark.parametrize("route", [route for route in ROUTES if route not in PUBLIC])
def test_a_stranger_gets_nothing(client: Client, route: str, method: str):
    event = rows.event(rows.repository("exporter"), status="3")
    row = rows.run(event).pk
    path = "/" + re.sub(r"<path:\w+>", "exporter", re.sub(r"<int:\w+>", str(row), route))
    answer = getattr(client, method)(path)
    led_to_login = answer.status_code == 302 and answer["Location"].startswith("/login/")
    assert led_to_login or answer.status_code in (401, 405), (path, answer.status_code)
    assert b"exporter" not in (b"" if answer.streaming else answer.content).replace(path.encode(), b"")
