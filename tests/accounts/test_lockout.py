"""Passwords can't be guessed for long: by user and address, by address, and by user."""

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models import F
from django.test import Client

from accounts.models import Attempts, AuditEntry

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("required")]

PASSWORD = "correct horse battery"


@pytest.fixture(autouse=True)
def ada(member, portal_settings) -> User:
    portal_settings("limits", login=0)
    return member("builder", "ada")


def log_in(password: str = "wrong", name: str = "ada", address: str = "198.51.100.7") -> Any:
    return Client(REMOTE_ADDR=address).post("/login/", {"username": name, "password": password})


def fail(times: int, **how: str) -> None:
    for _ in range(times):
        assert log_in(**how).status_code == 200


def test_after_five_failures_not_even_the_right_password_is_tried():
    fail(5)
    answer = log_in(PASSWORD)
    assert (answer.status_code, answer["Retry-After"]) == (429, "900")
    assert "For 15 min, not even the right password is tried." in answer.content.decode()


def test_four_failures_are_forgotten_with_the_right_password():
    fail(4)
    assert log_in(PASSWORD).status_code == 302
    fail(4)
    assert log_in(PASSWORD).status_code == 302


def test_another_address_may_still_log_in():
    fail(5)
    assert log_in(PASSWORD, address="203.0.113.5").status_code == 302


def test_another_user_may_still_log_in_from_there(member):
    member("viewer", "bob")
    fail(5)
    assert log_in(PASSWORD, "bob").status_code == 302


def test_it_is_over_after_the_configured_time():
    fail(5)
    Attempts.objects.update(since=F("since") - timedelta(minutes=15))
    assert log_in(PASSWORD).status_code == 302


def test_what_is_refused_does_not_make_it_longer():
    fail(5)
    for _ in range(3):
        log_in()
    Attempts.objects.update(since=F("since") - timedelta(minutes=15))
    fail(4)
    assert log_in(PASSWORD).status_code == 302


def test_many_names_from_one_address_are_bounded():
    for number in range(30):
        fail(1, name=f"user{number}")
    assert log_in(name="user99").status_code == 429
    assert log_in(PASSWORD).status_code == 429


def test_one_name_from_many_addresses_is_bounded():
    for number in range(50):
        fail(1, address=f"203.0.113.{number}")
    assert log_in(PASSWORD, address="192.0.2.1").status_code == 429


def test_addresses_of_one_ipv6_network_are_one():
    for number in range(5):
        fail(1, address=f"2001:db8::{number}")
    assert log_in(address="2001:db8::ffff").status_code == 429
    assert log_in(address="2001:db8:0:1::1").status_code == 200


def test_spellings_of_a_name_are_one():
    for name in ("ada", "ADA", "Ada", "\uff41da", "aDa"):
        fail(1, name=name)
    assert log_in().status_code == 429


def test_a_name_that_is_nobodys_is_answered_like_a_real_one():
    real, nobody = log_in(), log_in(name="nobody")
    assert real.status_code == nobody.status_code
    assert real.context["form"].non_field_errors() == nobody.context["form"].non_field_errors()
    fail(4)
    fail(4, name="nobody")
    assert log_in().status_code == log_in(name="nobody").status_code == 429


def test_a_disabled_user_is_answered_like_nobody(ada):
    User.objects.update(is_active=False)
    answer = log_in(PASSWORD)
    assert answer.context["form"].non_field_errors() == log_in(name="nobody").context["form"].non_field_errors()


def test_the_audit_tells_of_failures_and_of_the_lockout():
    fail(5)
    log_in()
    told = list(AuditEntry.objects.order_by("id").values_list("action", "target", "address"))
    assert told == [("login_failed", "ada", "198.51.100.7")] * 5 + [("lockout", "ada", "198.51.100.7")]


def test_no_password_is_stored_anywhere_of_what_was_tried():
    log_in("s3cret-that-was-nearly-right")
    stored = [*Attempts.objects.values_list(), *AuditEntry.objects.values_list()]
    assert "s3cret" not in str(stored)


@pytest.mark.parametrize("arguments", [["--user", "ada"], ["--address", "198.51.100.7"], ["--all"]])
def test_an_admin_unlocks_at_the_terminal(arguments, capsys):
    fail(5)
    call_command("unlock", *arguments)
    assert log_in(PASSWORD).status_code == 302
    assert AuditEntry.objects.filter(action="unlocked", means="manage.py unlock").exists()


def test_unlock_wants_to_know_whom():
    with pytest.raises(CommandError, match="--user"):
        call_command("unlock")


@pytest.mark.django_db(transaction=True)
def test_guesses_sent_all_at_once_are_not_tried_more_often():
    statuses: list[int] = []
    together = threading.Barrier(12)

    def guess() -> None:
        together.wait()
        statuses.append(log_in().status_code)
        connection.close()

    threads = [threading.Thread(target=guess) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200] * 5 + [429] * 7


def test_no_limit_where_none_is_configured(portal_settings):
    portal_settings("auth", mode="required", lockout_failures=0)
    fail(7)
    assert log_in(PASSWORD).status_code == 302
