import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from tests.support import rows
from tests.support.roles import group_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def login_required(settings):
    settings.PORTAL = settings.PORTAL.model_copy(update={"auth": settings.PORTAL.auth.model_copy(update={"mode": "required"})})


@pytest.mark.usefixtures("login_required")
@pytest.mark.parametrize("path", ["/?q=x", "/builds/", "/builds/1/", "/repos/exporter/"])
def test_whoever_is_not_logged_in_is_sent_to_the_login_and_back(client: Client, path):
    answer = client.get(path)
    assert answer.status_code == 302
    assert answer["Location"].startswith(f"{reverse('login')}?next=/")


@pytest.mark.usefixtures("login_required")
def test_whoever_is_logged_in_sees_the_page_and_a_way_out(client: Client):
    client.force_login(User.objects.create_user("ada"))
    page = client.get("/").content.decode()
    assert "ada" in page
    assert f'action="{reverse("logout")}"' in page


@pytest.mark.usefixtures("login_required")
def test_the_login_page_logs_in(client: Client):
    User.objects.create_user("ada", password="long enough to pass")
    assert 'type="password"' in client.get(reverse("login")).content.decode()
    answer = client.post(reverse("login"), {"username": "ada", "password": "long enough to pass", "next": "/builds/"})
    assert answer["Location"] == "/builds/"


@pytest.mark.usefixtures("login_required")
def test_a_wrong_password_is_told_on_the_page(client: Client):
    page = client.post(reverse("login"), {"username": "ada", "password": "wrong"}).content.decode()
    assert 'role="alert"' in page


def test_an_open_portal_asks_nobody(client: Client):
    assert client.get("/").status_code == 200


def test_no_other_cache_keeps_a_page(client: Client):
    assert "private" in client.get("/")["Cache-Control"]


@pytest.mark.parametrize("path", ["/", "/builds/"])
def test_pages_only_answer_reads(client: Client, path):
    assert client.post(path).status_code == 405


def test_the_icon_is_there(client: Client):
    assert client.get("/favicon.ico").status_code == 301
    assert client.get(client.get("/favicon.ico")["Location"])["Content-Type"] == "image/svg+xml"


def test_a_repository_named_like_a_path_is_reached(client: Client):
    rows.repository("a b/c?d#e%2F")
    page = client.get("/").content.decode()
    assert client.get(page.split('class="strong" href="')[1].split('"')[0]).status_code == 200


@pytest.mark.usefixtures("login_required")
@pytest.mark.parametrize("path", ["/", "/builds/", "/repos/exporter/"])
def test_a_viewer_is_told_why_nothing_can_be_built_here(client: Client, path):
    rows.event(rows.repository(), status="4")
    viewer = User.objects.create_user("vera")
    viewer.groups.set(group_of("viewer"))
    client.force_login(viewer)
    page = client.get(path).content.decode()
    assert "You may look here, but not build" in page
    assert "data-action" not in page
