"""Users: made, given a role, disabled, let choose a password; never without an admin."""

import re

import pytest
from django.contrib.auth.models import User
from django.test import Client

from accounts.models import ApiToken, AuditEntry
from accounts.roles import Level, level_of_user
from accounts.users import role_of

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("required")]

PASSWORD = "correct horse battery"


@pytest.fixture
def root(member) -> User:
    return member("admin", "root")


@pytest.fixture
def page(root) -> Client:
    client = Client(REMOTE_ADDR="198.51.100.7")
    client.force_login(root)
    return client


@pytest.fixture
def ada(member) -> User:
    return member("builder", "ada")


def act(page: Client, user: User, act: str, **said: str) -> str:
    """Send a form of the user's page; returns the page that follows."""
    return page.post(f"/users/{user.pk}/", {"act": act, **said}, follow=True).content.decode()


def logged_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def link(page: Client, user: User) -> str:
    found = re.search(r'id="new_link">http://testserver([^<]+)<', act(page, user, "link"))
    assert found
    return found[1]


def choose(path: str, password: str) -> object:
    client = Client()
    form = client.get(path, follow=True)
    return client.post(form.request["PATH_INFO"], {"new_password1": password, "new_password2": password})


def test_a_user_is_made_and_chooses_a_password_with_a_link(page):
    page.post("/users/", {"name": "grace", "role": "builder"})
    grace = User.objects.get(username="grace")
    assert not grace.has_usable_password()
    choose(link(page, grace), PASSWORD)
    answer = Client().post("/login/", {"username": "grace", "password": PASSWORD})
    assert answer.status_code == 302
    assert level_of_user(User.objects.get(pk=grace.pk)) == Level.BUILD


def test_a_link_works_once(page, ada):
    path = link(page, ada)
    choose(path, "a new one that is long")
    assert "This link was used already" in Client().get(path, follow=True).content.decode()


def test_a_link_is_spent_by_another_way_to_a_new_password(page, ada):
    path = link(page, ada)
    ada.set_password("something else, and long")
    ada.save()
    assert "This link was used already" in Client().get(path, follow=True).content.decode()


def test_the_link_itself_is_in_no_address_that_the_form_sends_on(page, ada):
    path = link(page, ada)
    answer = Client().get(path)
    assert answer.status_code == 302
    assert path.split("/")[-2] not in answer["Location"]


def test_a_password_by_link_ends_the_users_sessions(page, ada):
    session = logged_in(ada)
    choose(link(page, ada), "a new one that is long")
    assert session.get("/builds/").status_code == 302


def test_a_weak_password_is_refused(page, ada):
    assert "too common" in choose(link(page, ada), "password1234").content.decode()


@pytest.mark.parametrize("name", ["", "a b", "ada", "ADA", "x" * 151])
def test_a_user_name_is_well_formed_and_nobody_elses(page, ada, name):
    answer = page.post("/users/", {"name": name, "role": "viewer"})
    assert answer.status_code == 400
    assert "name" in answer.context["form"].errors


def test_a_role_is_changed_and_the_users_sessions_end(page, ada):
    session = logged_in(ada)
    act(page, ada, "role", role="viewer")
    assert role_of(ada) == "viewer"
    assert session.get("/builds/").status_code == 302
    entry = AuditEntry.objects.get(action="role_changed")
    assert (entry.actor, entry.target, entry.detail, entry.address) == ("root", "ada", "role: builder → viewer", "198.51.100.7")


def test_the_same_role_again_changes_nothing(page, ada):
    session = logged_in(ada)
    act(page, ada, "role", role="builder")
    assert session.get("/builds/").status_code == 200
    assert not AuditEntry.objects.filter(action="role_changed").exists()


def test_groups_that_are_no_roles_stay(page, ada):
    from django.contrib.auth.models import Group

    ada.groups.add(Group.objects.create(name="team a"))
    act(page, ada, "role", role="viewer")
    assert set(ada.groups.values_list("name", flat=True)) == {"viewer", "team a"}


def test_a_disabled_user_is_out_at_once(page, ada):
    session, key = logged_in(ada), ApiToken.objects.issue(ada, "script")[1]
    act(page, ada, "disable")
    assert session.get("/builds/").status_code == 302
    assert Client().get("/repo/", headers={"authorization": f"Token {key}"}).status_code == 401
    assert Client().post("/login/", {"username": "ada", "password": PASSWORD}).status_code == 200
    act(page, ada, "enable")
    assert Client().post("/login/", {"username": "ada", "password": PASSWORD}).status_code == 302
    assert set(AuditEntry.objects.filter(target="ada", actor="root").values_list("action", flat=True)) == {
        "user_disabled",
        "user_enabled",
    }


def test_an_admin_ends_one_session_or_all_of_another(page, ada):
    one, two = logged_in(ada), logged_in(ada)
    from accounts.models import BrowserSession

    act(page, ada, "end", session=BrowserSession.objects.get(session_key=one.session.session_key).handle)
    assert (one.get("/builds/").status_code, two.get("/builds/").status_code) == (302, 200)
    act(page, ada, "end_all")
    assert two.get("/builds/").status_code == 302


def test_an_admin_revokes_a_token_of_another(page, ada):
    token = ApiToken.objects.issue(ada, "script")[0]
    act(page, ada, "revoke", revoke=str(token.pk))
    assert not ApiToken.objects.exists()


@pytest.mark.parametrize(("what", "said"), [("role", {"role": "viewer"}), ("disable", {})])
def test_the_last_admin_stays_one(page, root, what, said):
    told = act(page, root, what, **said)
    root.refresh_from_db()
    assert "nobody else could administer the portal then" in told
    assert root.is_active
    assert role_of(root) == "admin"


@pytest.mark.parametrize(("what", "said"), [("role", {"role": "viewer"}), ("disable", {})])
def test_with_another_admin_one_may_go(page, root, member, what, said):
    member("admin", "other")
    act(page, root, what, **said)
    root.refresh_from_db()
    assert level_of_user(User.objects.get(pk=root.pk)) < Level.ADMIN


@pytest.mark.parametrize("kind", ["disabled", "has never chosen a password"])
def test_an_admin_who_could_not_log_in_does_not_count(page, root, member, kind):
    other = member("admin", "other")
    if kind == "disabled":
        other.is_active = False
    else:
        other.set_unusable_password()
    other.save()
    assert "nobody else could administer" in act(page, root, "disable")


def test_a_superuser_who_becomes_a_viewer_is_no_superuser_any_more(page):
    boss = User.objects.create_superuser("boss", password=PASSWORD)
    act(page, boss, "role", role="viewer")
    assert level_of_user(User.objects.get(pk=boss.pk)) == Level.READ


def test_no_page_is_left_in_a_cache_with_a_link_on_it(page, ada):
    assert "no-store" in page.post(f"/users/{ada.pk}/", {"act": "link"})["Cache-Control"]


def test_no_link_for_a_disabled_user(page, ada):
    act(page, ada, "disable")
    assert "new_link" not in act(page, ada, "link")


def test_a_form_that_is_none_of_the_pages_changes_nothing(page, ada):
    act(page, ada, "delete")
    assert User.objects.filter(username="ada", is_active=True).exists()
