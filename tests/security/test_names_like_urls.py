"""A name is looked for before a URL, so a name that is one would catch what others send to that URL, their tokens too."""

import pytest

from repos.models import Repository

pytestmark = pytest.mark.django_db
EVIL = "https://git.evil.example/app.git"


@pytest.mark.parametrize("name", ["git@github.com:team/app.git", "deploy@git.example.com:app"])
def test_no_repository_is_called_like_a_git_url(client, name: str):
    answer = client.post("/repo/", {"repo_name": name, "repo": EVIL}, content_type="application/json")
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, "repo_name")


def test_no_repository_is_renamed_to_one(client):
    row = Repository.objects.create(repo_name="app", repo=EVIL)
    answer = client.patch(f"/repo/{row.pk}/", {"repo_name": "git@github.com:team/app.git"}, content_type="application/json")
    assert answer.status_code == 400


@pytest.mark.parametrize("name", ["team/app", "app@2", "app:stable", "git.example.com:app"])
def test_other_names_are_taken(client, name: str):
    assert client.post("/repo/", {"repo_name": name, "repo": EVIL}, content_type="application/json").status_code == 201
