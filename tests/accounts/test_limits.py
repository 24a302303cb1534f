"""Rate limits: right across processes, told as a 429 problem with Retry-After."""

import threading

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from django.db.models import F
from django.test import Client

from accounts.limits import spend
from accounts.models import AuditEntry, Rate

pytestmark = pytest.mark.django_db


def check(client, **body):
    return client.post("/check/", {"repo": "nothing", **body}, content_type="application/json")


def later(seconds: float) -> None:
    Rate.objects.update(due=F("due") - int(seconds * 1000))


def test_so_many_at_once_and_no_more():
    assert [spend("a", 3) == 0 for _ in range(5)] == [True, True, True, False, False]


def test_a_share_comes_back_after_its_time():
    for _ in range(3):
        spend("a", 3)
    assert 19 < spend("a", 3) <= 20
    later(20)
    assert spend("a", 3) == 0
    assert spend("a", 3) > 0


def test_a_long_rest_does_not_add_up():
    spend("a", 3)
    later(3600)
    assert [spend("a", 3) == 0 for _ in range(4)] == [True, True, True, False]


def test_each_has_an_allowance_of_their_own():
    assert [spend(key, 1) == 0 for key in ("a", "b", "a")] == [True, True, False]


def test_an_allowed_request_costs_one_statement(django_assert_num_queries):
    spend("a", 3)
    with django_assert_num_queries(1):
        spend("a", 3)


def test_what_is_whole_again_goes_when_others_come():
    spend("a", 3)
    later(7200)
    spend("b", 3)
    assert list(Rate.objects.values_list("key", flat=True)) == ["b"]


@pytest.mark.django_db(transaction=True)
def test_several_at_once_do_not_get_more():
    spend("a", 5)
    got = []

    def ask() -> None:
        got.append(spend("a", 5))
        connection.close()

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got.count(0) == 4


def test_too_many_checks_are_a_429_problem(client, portal_settings):
    portal_settings("limits", check=2)
    assert [check(client).status_code for _ in range(2)] == [404, 404]
    answer = check(client)
    assert (answer.status_code, answer["Content-Type"]) == (429, "application/problem+json")
    assert answer.json()["code"] == "too_many_requests"
    assert 0 < int(answer["Retry-After"]) <= 30
    assert answer.json()["detail"].startswith("Too many requests of this kind: 2 a minute are allowed.")


def test_a_dry_run_has_a_limit_of_its_own(client, portal_settings):
    portal_settings("limits", dry_run=1)
    answers = [check(client, dry_run=True).status_code, check(client, dry_run=True).status_code, check(client).status_code]
    assert answers == [404, 429, 404]


def test_users_are_counted_apart_wherever_they_are(member, portal_settings, required):
    portal_settings("limits", check=1)
    first, second = Client(), Client()
    first.force_login(member("builder", "ada"))
    second.force_login(member("builder", "bob"))
    assert [check(client).status_code for client in (first, second, first)] == [404, 404, 429]


def test_addresses_are_counted_apart_where_nobody_logs_in(portal_settings):
    portal_settings("limits", check=1)
    here, there = Client(REMOTE_ADDR="198.51.100.7"), Client(REMOTE_ADDR="198.51.100.8")
    assert [check(client).status_code for client in (here, there, here)] == [404, 404, 429]


@pytest.mark.parametrize("path", ["/repo/?search=x", "/event/?search=x", "/?q=x"])
def test_searches_are_limited(client, portal_settings, path):
    portal_settings("limits", search=1)
    assert [client.get(path).status_code for _ in range(2)] == [200, 429]


def test_a_list_without_a_search_is_not(client, portal_settings):
    portal_settings("limits", search=1)
    assert [client.get("/repo/").status_code for _ in range(3)] == [200, 200, 200]


def test_too_many_logins_from_one_address_are_a_page_that_says_when(client, portal_settings):
    portal_settings("limits", login=1)
    body = {"username": "nobody", "password": "wrong"}
    client.post("/login/", body)
    answer = client.post("/login/", body)
    assert (answer.status_code, answer["Retry-After"]) == (429, "60")
    assert "Try again in 60 s." in answer.content.decode()


def test_guessing_tokens_ends_in_a_429_and_the_audit_tells_once(client, portal_settings):
    portal_settings("limits", wrong_tokens=2)
    statuses = [client.get("/repo/", headers={"authorization": f"Token cip_{n}"}).status_code for n in range(4)]
    assert statuses == [401, 401, 429, 429]
    assert AuditEntry.objects.filter(action="token_refused").count() == 1


# Whose address it is.


@pytest.mark.parametrize(
    ("proxies", "peer", "header", "address"),
    [
        ([], "198.51.100.7", "", "198.51.100.7"),
        ([], "198.51.100.7", "203.0.113.9", "198.51.100.7"),
        (["10.0.0.0/8"], "10.0.0.1", "203.0.113.9", "203.0.113.9"),
        (["10.0.0.0/8"], "10.0.0.1", "192.0.2.66, 203.0.113.9", "203.0.113.9"),
        (["10.0.0.0/8"], "10.0.0.1", "203.0.113.9, 10.2.2.2", "203.0.113.9"),
        (["10.0.0.0/8"], "10.0.0.1", "", "10.0.0.1"),
        (["10.0.0.0/8"], "10.0.0.1", "nonsense", "10.0.0.1"),
        (["10.0.0.0/8"], "10.0.0.1", "203.0.113.9, nonsense", "10.0.0.1"),
        (["10.0.0.0/8"], "198.51.100.7", "203.0.113.9", "198.51.100.7"),
        (["::1/128"], "::1", "2001:db8::1", "2001:db8::1"),
        (["10.0.0.0/8"], "::ffff:10.0.0.1", "203.0.113.9", "203.0.113.9"),
    ],
)
def test_only_the_configured_proxies_say_who_sends(portal_settings, proxies, peer, header, address):
    portal_settings("portal", trusted_proxies=proxies)
    headers = {"X-Forwarded-For": header} if header else {}
    Client(REMOTE_ADDR=peer).post("/log/", {"msg": "x"}, content_type="application/json", headers=headers)
    assert AuditEntry.objects.get(action="change").address == address


def test_a_proxy_that_is_no_network_is_refused(tmp_path):
    from ci_portal.config import ConfigError, load

    environ = {"CI_PORTAL_DEVELOPMENT": "1", "CI_PORTAL_PORTAL__TRUSTED_PROXIES": "nonsense"}
    with pytest.raises((ConfigError, ImproperlyConfigured), match="portal.trusted_proxies"):
        load(environ)
