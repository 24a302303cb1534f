"""Sessions: listed with device and address, ended one by one or all together."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from accounts.models import AuditEntry, BrowserSession

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("required")]

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
EDGE = "Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0 Safari/537.36 Edg/141.0"
PASSWORD = "correct horse battery"


def browser(name: str = "ada", agent: str = FIREFOX, address: str = "198.51.100.7") -> Client:
    client = Client(HTTP_USER_AGENT=agent, REMOTE_ADDR=address)
    assert client.post("/login/", {"username": name, "password": PASSWORD}).status_code == 302
    return client


@pytest.fixture
def ada(member) -> User:
    return member("builder", "ada")


def handles(client: Client) -> list[str]:
    return [session["row"].handle for session in client.get("/account/sessions/").context["sessions"]]


def works(client: Client) -> bool:
    return client.get("/builds/").status_code == 200


def test_a_session_says_with_what_and_from_where(ada):
    page = browser().get("/account/sessions/").content.decode()
    assert "Firefox on Linux" in page
    assert "198.51.100.7" in page
    assert "this one" in page


def test_another_browser_is_listed_beside_this_one(ada):
    browser(agent=EDGE)
    page = browser().get("/account/sessions/").content.decode()
    assert "Edge on Windows" in page
    assert page.count("</svg> this one") == 1


def test_no_page_shows_the_key_of_a_session(ada):
    other, client = browser(agent=EDGE), browser()
    page = client.get("/account/sessions/").content.decode()
    assert other.session.session_key not in page
    assert client.session.session_key not in page


def test_one_session_is_ended(ada):
    other, client = browser(agent=EDGE), browser()
    third = browser()
    own = BrowserSession.objects.get(session_key=other.session.session_key).handle
    client.post("/account/sessions/", {"end": own})
    assert (works(other), works(client), works(third)) == (False, True, True)
    assert AuditEntry.objects.filter(action="session_ended", actor="ada", detail__contains="Edge on Windows").exists()


def test_all_others_are_ended_at_once(ada):
    others, client = [browser(), browser(agent=EDGE)], browser()
    client.post("/account/sessions/", {"others": "yes"})
    assert [works(other) for other in others] == [False, False]
    assert works(client)


def test_nobody_ends_the_session_of_another_user(ada, member):
    member("builder", "bob")
    theirs, client = browser("bob"), browser()
    client.post("/account/sessions/", {"end": BrowserSession.objects.get(user__username="bob").handle})
    assert works(theirs)


def test_a_new_password_ends_all_other_sessions(ada):
    other, client = browser(agent=EDGE), browser()
    new = "a new one that is long"
    said = {"old_password": PASSWORD, "new_password1": new, "new_password2": new}
    assert client.post("/account/password/", said)["Location"] == "/account/password/"
    assert (works(other), works(client)) == (False, True)
    assert BrowserSession.objects.filter(user=ada).count() == 1


def test_logging_in_gives_the_session_another_key(ada):
    client = Client()
    client.session["planted"] = "1"
    before = client.session.session_key
    client.post("/login/", {"username": "ada", "password": PASSWORD})
    assert client.session.session_key != before


def test_an_expired_session_is_neither_listed_nor_good(ada):
    client = browser()
    BrowserSession.objects.update(expire_date=timezone.now() - timedelta(seconds=1))
    assert not works(client)
    assert len(handles(browser())) == 1


def test_a_session_is_noted_as_seen_once_a_minute(ada, django_assert_num_queries):
    client = browser()
    long_ago = timezone.now() - timedelta(minutes=2)
    BrowserSession.objects.update(seen_at=long_ago)
    client.get("/account/sessions/")
    seen = BrowserSession.objects.get().seen_at
    assert seen > long_ago
    client.get("/account/sessions/")
    assert BrowserSession.objects.get().seen_at == seen


def test_when_it_began_stays_when_it_goes_on(ada):
    client = browser()
    began = BrowserSession.objects.get().created_at
    session = client.session
    session["more"] = "1"
    session.save()
    assert BrowserSession.objects.get().created_at == began


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(ada):
    cookie = browser().cookies["sessionid"]
    assert (cookie["httponly"], cookie["samesite"], cookie["max-age"]) == (True, "Lax", 14 * 86400)


def test_the_list_costs_the_same_for_one_and_for_many(ada, django_assert_max_num_queries):
    client = browser()
    for _ in range(5):
        browser()
    with django_assert_max_num_queries(6):
        client.get("/account/sessions/")
