"""What a browser is told to refuse, on every kind of answer; hosts and targets that are not the portal's."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.contrib.auth.models import User

pytestmark = pytest.mark.django_db

ANSWERS = ["/", "/builds/", "/login/", "/docs/", "/repo/", "/repo/9/", "/nothing/", "/schema/", "/static/ci_portal/portal.css"]


@pytest.mark.parametrize("path", ANSWERS)
def test_every_answer_carries_them(client, path):
    headers = client.get(path).headers
    policy = dict(part.strip().partition(" ")[::2] for part in headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["object-src"] == policy["base-uri"] == "'none'"
    assert policy["form-action"] == "'self'"
    assert policy.get("script-src", "'self'") == "'self'"
    # Swagger UI, which /docs/ shows, sets styles of its own; it brings no script that is not a file of the portal's.
    assert ("unsafe" in headers["Content-Security-Policy"]) is (path == "/docs/")
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "camera=()" in headers["Permissions-Policy"]


@pytest.mark.parametrize("host", ["evil.example", "testserver.evil.example", "testserver:80@evil.example"])
def test_another_host_is_refused(client, host):
    assert client.get("/repo/", headers={"host": host}).status_code == 400


@pytest.mark.parametrize("header", ["X-Forwarded-Host", "X-Host", "Forwarded"])
def test_no_header_takes_the_place_of_the_host(client, header):
    value = "host=evil.example" if header == "Forwarded" else "evil.example"
    page = client.get("/nothing", headers={header: value})
    assert "evil.example" not in page.content.decode() + page.headers.get("Location", "")


TARGETS = [
    "https://evil.example/",
    "//evil.example",
    "/\\evil.example",
    "https:evil.example",
    "javascript:alert(1)",
    "\thttps://evil.example",
]


@pytest.mark.parametrize("target", TARGETS)
def test_the_login_leads_nowhere_else(client, target):
    User.objects.create_user("ada", password="correct horse battery")
    answer = client.post("/login/", {"username": "ada", "password": "correct horse battery", "next": target})
    assert answer["Location"] == "/"
    assert client.get("/login/", {"next": target})["Location"] == "/"  # whoever has logged in already is led on at once


@pytest.mark.parametrize("target", TARGETS)
def test_the_choice_of_a_language_leads_nowhere_else(client, target):
    assert client.post("/i18n/setlang/", {"language": "en", "next": target})["Location"] == "/"


@pytest.mark.parametrize("target", ["//evil.example/x", "/\\evil.example", "//evil.example/%2e%2e"])
def test_a_missing_slash_leads_nowhere_else(client, target):
    answer = client.get(target)
    assert not answer.headers.get("Location", "").startswith(("//", "/\\", "http"))


def settings_of(**environ: str) -> dict[str, object]:
    """What Django's settings are in production, with this configuration."""
    names = [
        "SECURE_HSTS_SECONDS",
        "SESSION_COOKIE_SECURE",
        "CSRF_COOKIE_SECURE",
        "SESSION_COOKIE_SAMESITE",
        "CSRF_COOKIE_SAMESITE",
    ]
    program = f"import json; from ci_portal import settings; print(json.dumps({{n: getattr(settings, n) for n in {names}}}))"
    root = Path(__file__).parents[2]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CI_PORTAL_")}
    said = {f"CI_PORTAL_{name}": value for name, value in environ.items()}
    keys = {
        "CI_PORTAL_SECRETS__KEYS": "dGVzdHMtb25seS1rZXktdGVzdHMtb25seS1rZXktMDA=",
        "CI_PORTAL_SECRETS__DJANGO_KEY": "only-the-tests-use-this-key-0123456789-abcdefghijklmnop",
    }
    answer = subprocess.run([sys.executable, "-c", program], cwd=root, env=kept | keys | said, capture_output=True, check=True)
    return json.loads(answer.stdout)


def test_https_makes_cookies_secure_and_sends_hsts_as_configured():
    of_https = settings_of(PORTAL__BASE_URL="https://portal.example", PORTAL__HSTS_SECONDS="3600")
    assert of_https == {
        "SECURE_HSTS_SECONDS": 3600,
        "SESSION_COOKIE_SECURE": True,
        "CSRF_COOKIE_SECURE": True,
        "SESSION_COOKIE_SAMESITE": "Lax",
        "CSRF_COOKIE_SAMESITE": "Lax",
    }


def test_http_sends_no_hsts():
    assert settings_of(PORTAL__BASE_URL="http://portal.example")["SECURE_HSTS_SECONDS"] == 0
