"""`/reconcile/`: what differs is shown to admins, and put right by a button."""

from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from logs.models import Log
from runners.backends.base import Refused, Unreachable
from runners.backends.local import LocalBackend
from runners.backends.local_build import write_json
from runners.models import Installation, Run, new_uid
from tests.support import rows
from tests.support.roles import group_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalBackend:
    backend = LocalBackend(tmp_path / "builds", tmp_path / "ca")
    monkeypatch.setattr("runners.reconcile_page.places", lambda: [backend])
    return backend


@pytest.fixture
def login_required(settings):
    settings.PORTAL = settings.PORTAL.model_copy(update={"auth": settings.PORTAL.auth.model_copy(update={"mode": "required"})})


def user(role: str) -> User:
    made = User.objects.create_user("ada")
    made.groups.set(group_of(role))
    return made


def left_over(backend: LocalBackend) -> Path:
    folder = backend.work / new_uid()
    folder.mkdir(parents=True)
    labels = {"installation": Installation.identity(), "repository": "exporter", "run": "app-77"}
    write_json(folder / "plan.json", {"labels": labels})
    (folder / "lock").touch()
    return folder


def test_an_empty_page_says_that_all_matches(client: Client, backend):
    page = client.get("/reconcile/").content.decode()
    assert "Everything matches." in page
    assert "Reconcile now" not in page


def test_it_shows_what_differs_and_what_becomes_of_it(client: Client, backend):
    folder = left_over(backend)
    event = rows.event(rows.repository(), status="2")
    run = rows.run(event, backend="local", status=Run.RUNNING, launched_at=timezone.now() - timedelta(hours=3))
    page = client.get("/reconcile/").content.decode()
    assert "app-77" in page
    assert "A build for which there is no run." in page
    assert f'href="/builds/{event.pk}/?run={run.pk}"' in page
    assert "The watcher ends the run as failed." in page
    assert "3\xa0hours ago" in page
    assert folder.exists()


def test_the_button_puts_right_and_says_so(client: Client, backend):
    folder = left_over(backend)
    answer = client.post("/reconcile/", follow=True)
    assert answer.redirect_chain == [("/reconcile/", 302)]
    page = answer.content.decode()
    assert "Put right: 1. Left to the watcher: 0. Not done: 0." in page
    assert "Everything matches." in page
    assert not folder.exists()


@pytest.mark.usefixtures("login_required")
def test_the_history_names_who_pressed_it(client: Client, backend):
    left_over(backend)
    client.force_login(user("admin"))
    client.post("/reconcile/")
    assert Log.objects.get().actor == "ada"


def test_without_its_form_nothing_is_done(backend):
    folder = left_over(backend)
    assert Client(enforce_csrf_checks=True).post("/reconcile/").status_code == 403
    assert folder.exists()


def test_what_could_not_be_done_is_told(client: Client, backend, monkeypatch):
    left_over(backend)

    def remove(held):
        raise Refused("It may not be deleted.")

    monkeypatch.setattr(backend, "remove", remove)
    page = client.post("/reconcile/", follow=True).content.decode()
    assert "Put right: 0. Left to the watcher: 0. Not done: 1." in page
    assert "app-77: It may not be deleted." in page


@pytest.mark.parametrize("method", ["get", "post"])
def test_a_cluster_that_is_away_is_told_and_nothing_is_said_to_match(client: Client, backend, monkeypatch, method):
    def inventory():
        raise Unreachable("The cluster can't be reached: Connection refused.")

    monkeypatch.setattr(backend, "inventory", inventory)
    answer = getattr(client, method)("/reconcile/", follow=True)
    page = answer.content.decode()
    assert answer.status_code == 200
    assert "The cluster can&#x27;t be reached: Connection refused." in page
    assert "Everything matches." not in page
    assert "Put right" not in page


@pytest.mark.usefixtures("login_required")
def test_whoever_is_not_logged_in_is_sent_to_the_login(client: Client, backend):
    assert client.get("/reconcile/")["Location"] == "/login/?next=/reconcile/"
    assert client.post("/reconcile/")["Location"] == "/login/?next=/reconcile/"


@pytest.mark.usefixtures("login_required")
@pytest.mark.parametrize("method", ["get", "post"])
def test_whoever_is_no_admin_may_not(client: Client, backend, method):
    folder = left_over(backend)
    client.force_login(user("builder"))
    assert getattr(client, method)("/reconcile/").status_code == 403
    assert folder.exists()
    assert 'href="/reconcile/"' not in client.get("/").content.decode()


@pytest.mark.usefixtures("login_required")
def test_an_admin_finds_it_in_the_navigation(client: Client, backend):
    client.force_login(user("admin"))
    assert 'href="/reconcile/"' in client.get("/").content.decode()
    assert client.get("/reconcile/").status_code == 200


def test_in_an_open_portal_everyone_finds_it(client: Client):
    assert 'href="/reconcile/"' in client.get("/").content.decode()
