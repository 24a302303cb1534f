"""With git.base_url a bare name stands for a repository there. Nobody below an admin can make it lead anywhere else, since scripts
send their credentials to whatever has the name."""

import pytest
from django.contrib.auth.models import User
from django.test import Client

from ci_portal.registration import CheckRequest, find
from repos.models import Repository
from tests.support.roles import group_of

pytestmark = pytest.mark.django_db
BASE, EVIL = "https://git.Example/team", "https://git.evil.example/team/app.git"


@pytest.fixture(autouse=True)
def _base_url(settings):
    portal = settings.PORTAL
    auth, git = portal.auth.model_copy(update={"mode": "required"}), portal.git.model_copy(update={"base_url": BASE})
    settings.PORTAL = portal.model_copy(update={"auth": auth, "git": git})


@pytest.fixture
def sender(client: Client):
    """A function that logs somebody with this role in."""

    def log_in(role: str) -> Client:
        user = User.objects.create_user(role, password="correct horse battery")
        user.groups.set(group_of(role))
        client.force_login(user)
        return client

    return log_in


@pytest.mark.parametrize("url", [EVIL, "https://git.example/teammate/app.git", "ssh://git@git.example/team/app.git"])
def test_a_builder_can_not_give_a_name_to_a_repository_elsewhere(sender, url: str):
    answer = sender("builder").post("/repo/", {"repo_name": "app", "repo": url}, content_type="application/json")
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (403, "repo")
    assert not Repository.objects.exists()


def test_a_builder_registers_what_is_below_it(sender):
    body = {"repo_name": "app", "repo": "https://git.example/team/app.git"}
    assert sender("builder").post("/repo/", body, content_type="application/json").status_code == 201


def test_an_admin_may_give_any_name(sender):
    assert sender("admin").post("/repo/", {"repo_name": "app", "repo": EVIL}, content_type="application/json").status_code == 201


def test_without_a_base_url_a_bare_name_stands_for_nothing(sender, settings):
    git = settings.PORTAL.git.model_copy(update={"base_url": ""})
    settings.PORTAL = settings.PORTAL.model_copy(update={"git": git})
    assert sender("builder").post("/repo/", {"repo_name": "app", "repo": EVIL}, content_type="application/json").status_code == 201


def test_a_check_of_a_url_elsewhere_leaves_the_bare_name_free():
    assert find(CheckRequest(EVIL)).repository.repo_name.startswith("app-")
    assert find(CheckRequest("app")).repository.repo == "https://git.example/team/app.git"
