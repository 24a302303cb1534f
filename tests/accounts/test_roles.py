"""Who may do what: every URL and method of the portal, for everybody there is. A URL that is not in the table fails."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import URLPattern, get_resolver
from django.utils import timezone

from accounts.models import ApiToken
from accounts.roles import ROLES, Level
from repos.credentials import git_login, store_git_login
from repos.models import Repository
from tests.support import rows

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("required")]

PUBLIC, READ, BUILD, ADMIN = Level.NONE, Level.READ, Level.BUILD, Level.ADMIN
#: Whoever has logged in, whatever their role: pages of one's own account.
ANYBODY = 0.5
#: Route → what each of its methods needs. Methods that are not named answer 405.
NEEDS: dict[str, dict[str, float]] = {
    "repo/": {"GET": READ, "POST": BUILD, "PATCH": BUILD, "DELETE": ADMIN},
    "repo/<path:key>/": {"GET": READ, "PUT": BUILD, "PATCH": BUILD, "DELETE": ADMIN},
    "event/": {"GET": READ, "POST": BUILD, "PATCH": ADMIN, "DELETE": ADMIN},
    "event/<int:key>/": {"GET": READ, "PUT": ADMIN, "PATCH": ADMIN, "DELETE": ADMIN},
    "job/": {"GET": READ, "POST": BUILD, "PATCH": ADMIN, "DELETE": ADMIN},
    "job/<int:key>/": {"GET": READ, "PUT": ADMIN, "PATCH": ADMIN, "DELETE": ADMIN},
    "log/": {"GET": READ, "POST": BUILD, "PATCH": ADMIN, "DELETE": ADMIN},
    "log/<int:key>/": {"GET": READ, "PUT": ADMIN, "PATCH": ADMIN, "DELETE": ADMIN},
    "check/": {"POST": BUILD},
    "check/refs/": {"POST": BUILD},
    "event/<int:pk>/cancel/": {"POST": BUILD},
    "event/<int:pk>/retry/": {"POST": BUILD},
    "job/<int:pk>/manifest/": {"GET": READ},
    "job/<int:key>/output/": {"GET": READ},
    "job/<int:key>/output/status/": {"GET": READ},
    "job/<int:key>/output/index/": {"GET": READ},
    "job/<int:key>/output/lines/": {"GET": READ},
    "job/<int:key>/output/search/": {"GET": READ},
    "schema/": {"GET": PUBLIC},
    "docs/": {"GET": PUBLIC},
    "login/": {"GET": PUBLIC, "POST": PUBLIC},
    "login/oidc/": {"GET": PUBLIC},
    "login/oidc/callback/": {"GET": PUBLIC},
    "users/link/<uidb64>/<token>/": {"GET": PUBLIC, "POST": PUBLIC},
    "account/tokens/": {"GET": ANYBODY, "POST": ANYBODY},
    "account/sessions/": {"GET": ANYBODY, "POST": ANYBODY},
    "account/password/": {"GET": ANYBODY, "POST": ANYBODY},
    "users/": {"GET": ADMIN, "POST": ADMIN},
    "users/<int:pk>/": {"GET": ADMIN, "POST": ADMIN},
    "tokens/": {"GET": ADMIN, "POST": ADMIN},
    "audit/": {"GET": ADMIN},
    "credentials/": {"GET": ADMIN},
    "": {"GET": READ},
    "repos/<path:name>/": {"GET": READ},
    "repos/<path:name>/-/edit/": {"GET": BUILD},
    "repos/<path:name>/badge.svg": {"GET": PUBLIC},  # to whoever has its key; else it is not there
    "builds/": {"GET": READ},
    "builds/<int:pk>/": {"GET": READ},
    "builds/<int:pk>/manifest/": {"GET": READ},
    "reconcile/": {"GET": ADMIN, "POST": ADMIN},
    "i18n/setlang/": {"POST": PUBLIC},
    "favicon.ico": {"GET": PUBLIC},
    "logout/": {"POST": PUBLIC},  # the last, for those who are logged in
}
#: Pages send whoever has not logged in to the login instead of answering 401, and know no tokens.
PAGES = {
    "",
    "repos/<path:name>/",
    "repos/<path:name>/-/edit/",
    "builds/",
    "builds/<int:pk>/",
    "builds/<int:pk>/manifest/",
    "reconcile/",
} | {
    *("account/tokens/", "account/sessions/", "account/password/", "users/", "users/<int:pk>/", "tokens/", "audit/", "credentials/")
}
PERSONS = ["anonymous", "newcomer", "viewer", "builder", "admin", "superuser"]
TOKENS = [f"{role}'s {scope} token" for role in ("viewer", "builder", "admin") for scope in ("read", "build", "admin")]


def routes() -> Iterator[str]:
    """All routes but those of Django's admin, which has a test of its own."""
    for pattern in get_resolver().url_patterns:
        if str(pattern.pattern) == "admin/":
            continue
        assert isinstance(pattern, URLPattern), "nested URL maps need a walk"
        yield str(pattern.pattern)


def admin_paths() -> Iterator[str]:
    """A path for each route of Django's admin."""

    def walk(resolver: Any, prefix: str) -> Iterator[str]:
        for pattern in resolver.url_patterns:
            route = prefix + str(pattern.pattern)
            if isinstance(pattern, URLPattern):
                yield re.sub(r"\(\?P<\w+>.*?\)[$]?|<[^>]+>", "1", route).replace("^", "").replace("$", "")
            else:
                yield from walk(pattern, route)

    yield from walk(next(each for each in get_resolver().url_patterns if str(each.pattern) == "admin/"), "/admin/")


def test_every_url_is_in_the_table():
    assert sorted(routes()) == sorted(NEEDS)


def path_of(route: str) -> str:
    named = {
        "<path:key>": "exporter",
        "<path:name>": "exporter",
        "<int:key>": "1",
        "<int:pk>": "1",
        "<uidb64>": "MQ",
        "<token>": "x-y",
    }
    for part, value in named.items():
        route = route.replace(part, value)
    return f"/{route}"


@pytest.fixture
def sender(member: Callable[..., User]) -> Callable[[str], tuple[Client, dict[str, str], float]]:
    """A function: somebody's client, headers, and the level that is theirs."""

    def make(who: str) -> tuple[Client, dict[str, str], float]:
        client = Client()
        if who == "anonymous":
            return client, {}, PUBLIC
        if who == "superuser":
            client.force_login(User.objects.create_superuser("root"))
            return client, {}, ADMIN
        if who.endswith("token"):
            role, scope, _ = who.replace("'s", "").split()
            key = ApiToken.objects.issue(member(role), "script", scope=scope)[1]
            levels = {"read": READ, "build": BUILD, "admin": ADMIN}
            return client, {"authorization": f"Token {key}"}, min(levels[scope], ROLES[role])
        role = "" if who == "newcomer" else who
        client.force_login(member(role))
        return client, {}, ROLES.get(role, ANYBODY)

    return make


def sent(client: Client, method: str, path: str, headers: dict[str, str]) -> Any:
    return client.generic(method, path, b"" if method == "GET" else b"{}", content_type="application/json", headers=headers)


@pytest.mark.parametrize("who", PERSONS + TOKENS)
def test_each_url_and_method_opens_for_those_who_may_and_for_nobody_else(sender, who):
    rows.repository("exporter")
    client, headers, level = sender(who)
    wrong = []
    for route, methods in NEEDS.items():
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
            if (route in PAGES and headers) or (method not in methods and set(methods.values()) == {PUBLIC}):
                continue
            answer = sent(client, method, path_of(route), headers)
            status, to_login = answer.status_code, "/login/" in answer.headers.get("Location", "")
            needed = methods.get(method)
            if needed is None:
                allowed = status in (405, 401, 403)
            elif level >= needed:
                allowed = status not in (401, 403) and not to_login
            elif who == "anonymous":
                allowed = to_login if route in PAGES else status == 401
            else:
                allowed = status == 403
            if not allowed:
                wrong.append(f"{method} /{route}: {status}")
    assert wrong == []


#: Where the admin only leads to the portal's own page of the same purpose.
LEADING = ("/admin/login/", "/admin/logout/", "/admin/password_change/", "/admin/password_change/done/")


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("who", PERSONS)
def test_djangos_admin_is_for_admins_alone(sender, who, method):
    client, _, level = sender(who)
    wrong = []
    for path in sorted(set(admin_paths()) - set(LEADING)):
        answer = client.generic(method, path)
        to_login = answer.headers.get("Location", "").startswith("/login/")
        if level >= ADMIN:
            # Most tables are to look at alone: they let nobody add and delete, nor send anything.
            closed = method == "POST" or path.endswith(("/add/", "/delete/", "/autocomplete/"))
            allowed = not to_login and answer.status_code != 500 and (closed or answer.status_code != 403)
        else:
            allowed = to_login if who == "anonymous" else answer.status_code == 403
        if not allowed:
            wrong.append(f"{path}: {answer.status_code} {answer.headers.get('Location', '')}")
    assert wrong == []


def test_the_admin_has_no_login_of_its_own(client):
    assert client.get("/admin/login/")["Location"] == "/login/"
    assert client.get("/admin/")["Location"] == "/login/?next=/admin/"


@pytest.mark.parametrize("how", ["expired", "revoked", "of a user who left"])
def test_a_token_that_is_no_good_opens_nothing(member, how, portal_settings):
    portal_settings("limits", wrong_tokens=0)
    user = member("admin")
    token, key = ApiToken.objects.issue(user, "script", scope="admin")
    if how == "expired":
        ApiToken.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    elif how == "revoked":
        token.delete()
    else:
        User.objects.update(is_active=False)
    headers = {"authorization": f"Token {key}"}
    closed = {
        (route, method): sent(Client(), method, path_of(route), headers).status_code
        for route, methods in NEEDS.items()
        for method, needed in methods.items()
        if needed > PUBLIC and route not in PAGES
    }
    assert set(closed.values()) == {401}


def test_a_refusal_says_what_is_needed_and_what_there_is(client, member):
    client.force_login(member("viewer"))
    answer = client.post("/check/", {"repo": "x"}, content_type="application/json")
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert answer.json()["detail"] == "This needs the role builder: your role is viewer."


def test_a_refusal_names_the_token_where_it_is_the_token(client, member):
    key = ApiToken.objects.issue(member("admin"), "script", scope="read")[1]
    answer = client.delete("/repo/1/", headers={"authorization": f"Token {key}"})
    assert answer.json()["detail"] == "This needs the role admin: this token's scope is read."


def test_a_user_without_a_role_is_told_whom_to_ask(client, member):
    client.force_login(member(""))
    page = client.get("/")
    assert page.status_code == 403
    assert "Ask whoever runs this portal" in page.content.decode()


# Repositories: builders change how one is built; where it is, and with what, is for admins.


@pytest.fixture
def exporter():
    repository = rows.repository("exporter", repo="https://git.example/team/exporter.git")
    store_git_login(repository, "reader", "s3cret-token")
    return repository


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"repo": "https://git.example/other.git"}, "repo"),
        ({"repo": "https://ann:t0ken-of-ann@git.example/team/exporter.git"}, "git_user"),
        ({"git_token": "t0ken-of-ann"}, "git_token"),
        ({"git_token": ""}, "git_token"),
        ({"deploy_key": ""}, "deploy_key"),
        ({"ca_secret": "mine"}, "ca_secret"),
        ({"repo_name": "mine"}, "repo_name"),
    ],
)
def test_a_builder_changes_neither_url_nor_credentials(client, member, exporter, body, field):
    client.force_login(member("builder"))
    answer = client.patch("/repo/exporter/", body, content_type="application/json")
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert field in [error["field"] for error in answer.json()["errors"]]
    exporter.refresh_from_db()
    assert (exporter.repo, exporter.ca_secret) == ("https://git.example/team/exporter.git", "")
    assert git_login(exporter).password == "s3cret-token"
    assert "t0ken" not in answer.content.decode()


def test_a_builder_does_not_take_the_certificate_away_by_leaving_it_out(client, member, exporter):
    Repository.objects.filter(pk=exporter.pk).update(ca_secret="ours")
    client.force_login(member("builder"))
    body = {"repo_name": "exporter", "repo": exporter.repo}
    assert client.put("/repo/exporter/", body, content_type="application/json").status_code == 403
    assert client.put("/repo/exporter/", body | {"ca_secret": "ours"}, content_type="application/json").status_code == 200


def test_a_builder_changes_how_it_is_built(client, member, exporter):
    client.force_login(member("builder"))
    answer = client.patch("/repo/exporter/", {"branch": "next", "dockerfile": "build/Dockerfile"}, content_type="application/json")
    assert (answer.status_code, answer.json()["branch"]) == (200, "next")


def test_an_admin_changes_url_and_credentials(client, member, exporter):
    client.force_login(member("admin"))
    body = {"repo": "https://git.example/moved.git", "git_user": "reader", "git_token": "another-token"}
    assert client.patch("/repo/exporter/", body, content_type="application/json").status_code == 200
    exporter.refresh_from_db()
    assert git_login(exporter).password == "another-token"


def test_a_check_by_a_builder_does_not_replace_the_stored_login(client, member, exporter):
    client.force_login(member("builder"))
    body = {"repo": "exporter", "user": "ann", "token": "t0ken-of-ann"}
    answer = client.post("/check/", body, content_type="application/json")
    assert (answer.status_code, [error["field"] for error in answer.json()["errors"]]) == (403, ["user", "token"])
    assert git_login(exporter).password == "s3cret-token"


def test_a_check_by_a_builder_does_not_choose_whom_the_stored_login_is_shown_to(client, member, exporter):
    client.force_login(member("builder"))
    answer = client.post("/check/", {"repo": "exporter", "ca_secret": "mine"}, content_type="application/json")
    assert (answer.status_code, [error["field"] for error in answer.json()["errors"]]) == (403, ["ca_secret"])


@pytest.mark.parametrize("page", ["/", "/repos/exporter/"])
@pytest.mark.parametrize(("role", "offered"), [("viewer", False), ("builder", True)])
def test_pages_offer_only_what_would_not_be_refused(client, member, exporter, page, role, offered):
    client.force_login(member(role))
    assert ('class="build' in client.get(page).content.decode()) is offered
