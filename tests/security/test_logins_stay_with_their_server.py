"""A stored login goes to the server that it was given for, also while the repository's URL changes."""

import pytest

from ci_portal.api.problems import Problem
from ci_portal.registration import CheckRequest, find, register
from repos.credentials import store_git_login
from repos.models import Credential, Repository
from runners.describe import build_spec, secrets_of
from tests.support import rows

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    "elsewhere", ["https://git.evil.example/team/exporter.git", "https://git.example.com:8443/team/exporter.git"]
)
def test_a_run_of_an_earlier_url_does_not_get_the_login_of_a_later_one(elsewhere: str):
    repository = rows.repository()
    run = rows.run(rows.event(repository, status="1"), repo_path=elsewhere)
    store_git_login(repository, "ci-bot", "only-for-git.example.com")
    secrets = secrets_of(run, build_spec(run))
    assert (secrets.git_username, secrets.git_password) == ("", "")


def test_a_run_at_the_same_server_gets_it():
    repository = rows.repository()
    run = rows.run(rows.event(repository, status="1"), repo_path="https://git.example.com/team/renamed.git")
    store_git_login(repository, "ci-bot", "only-for-git.example.com")
    assert secrets_of(run, build_spec(run)).git_password == "only-for-git.example.com"


def test_a_token_is_not_stored_for_a_url_that_took_the_place_of_the_one_it_was_tried_at():
    rows.repository()
    wanted = find(CheckRequest("exporter", "ci-bot", "only-for-git.example.com"))
    Repository.objects.update(repo="https://git.evil.example/team/exporter.git")
    with pytest.raises(Problem, match="was changed meanwhile"):
        register(wanted, "alice")
    assert not Credential.objects.exists()
