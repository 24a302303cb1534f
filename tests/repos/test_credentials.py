"""Credentials at rest: what comes back is what went in, or an error; never a ciphertext, never a word of it in between."""

import traceback
from datetime import timedelta

import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr

from repos import credentials
from repos.credentials import CredentialUnreadable, GitLogin, decrypt, encrypt, git_login, store, store_git_login
from repos.models import Credential, Repository

PASSWORD = "token-密码 with 'quotes' and \n lines"


@pytest.fixture
def repository(db):
    return Repository.objects.create(repo_name="app", repo="https://git.example.com/team/app.git")


@pytest.fixture
def use_keys(settings):
    """Returns a function that makes these the configured keys."""

    def use(*keys):
        secrets = settings.PORTAL.secrets.model_copy(update={"keys": [SecretStr(key) for key in keys]})
        settings.PORTAL = settings.PORTAL.model_copy(update={"secrets": secrets})

    return use


def test_what_comes_back_is_what_went_in(repository):
    store_git_login(repository, "chen", PASSWORD)
    login = git_login(repository)
    assert (login.username, login.password, login.ssh_key) == ("chen", PASSWORD, "")


def test_a_deploy_key_stands_beside_a_login(repository):
    store_git_login(repository, "chen", PASSWORD)
    store(Credential.SSH_KEY, {"key": "-----BEGIN OPENSSH PRIVATE KEY-----\n"}, repository=repository)
    login = git_login(repository)
    assert (login.password, login.ssh_key) == (PASSWORD, "-----BEGIN OPENSSH PRIVATE KEY-----\n")


def test_a_repository_without_credentials_has_an_empty_login(repository):
    assert not git_login(repository)


def test_storing_again_replaces_the_one_there_was(repository):
    store_git_login(repository, "chen", "old-password")
    store_git_login(repository, "chen", PASSWORD)
    assert git_login(repository).password == PASSWORD
    assert repository.credentials.count() == 1


def test_a_new_secret_counts_as_not_used_yet(repository):
    store_git_login(repository, "chen", "old-password")
    credentials.mark_used(repository)
    assert repository.credentials.get().used_at is not None
    store_git_login(repository, "chen", PASSWORD)
    assert repository.credentials.get().used_at is None


def test_the_database_holds_nothing_readable(repository):
    store_git_login(repository, "chen-of-the-team", PASSWORD)
    stored = repository.credentials.get().ciphertext
    assert "chen-of-the-team" not in stored
    assert "token" not in stored


def test_the_same_secret_twice_looks_different():
    assert encrypt({"password": PASSWORD}) != encrypt({"password": PASSWORD})


def test_a_key_is_rotated_by_putting_a_new_one_in_front(repository, use_keys):
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    use_keys(old)
    store_git_login(repository, "chen", PASSWORD)
    use_keys(new, old)
    assert git_login(repository).password == PASSWORD


def test_the_first_key_encrypts(use_keys):
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    use_keys(new, old)
    ciphertext = encrypt({"password": PASSWORD})
    use_keys(new)
    assert decrypt(ciphertext, "it") == {"password": PASSWORD}
    use_keys(old)
    with pytest.raises(CredentialUnreadable):
        decrypt(ciphertext, "it")


def test_a_wrong_key_is_an_error_that_names_what_is_unreadable(repository, use_keys):
    store_git_login(repository, "chen", PASSWORD)
    ciphertext = repository.credentials.get().ciphertext
    use_keys(Fernet.generate_key().decode())
    with pytest.raises(CredentialUnreadable, match="git credentials of app") as refused:
        git_login(repository)
    assert ciphertext not in "".join(traceback.format_exception(refused.value))


def test_a_wrong_key_leaves_a_deploy_key_unreadable_too(repository, use_keys):
    store(Credential.SSH_KEY, {"key": "private"}, repository=repository)
    use_keys(Fernet.generate_key().decode())
    with pytest.raises(CredentialUnreadable, match="deploy key of app"):
        git_login(repository)


@pytest.mark.parametrize("place", [0, 10, 40, -1])
def test_a_changed_ciphertext_is_an_error(place):
    ciphertext = encrypt({"password": PASSWORD})
    other = "A" if ciphertext[place] != "A" else "B"
    changed = ciphertext[:place] + other + (ciphertext[place + 1 :] if place >= 0 else "")
    with pytest.raises(CredentialUnreadable):
        decrypt(changed, "it")


@pytest.mark.parametrize("ciphertext", ["", "plain text", "gAAAAA", "密文"])
def test_what_never_was_a_ciphertext_is_an_error(ciphertext):
    with pytest.raises(CredentialUnreadable):
        decrypt(ciphertext, "it")


def test_a_ciphertext_of_something_else_is_an_error(use_keys):
    key = Fernet.generate_key()
    use_keys(key.decode())
    with pytest.raises(CredentialUnreadable):
        decrypt(Fernet(key).encrypt(b"not json").decode(), "it")


def test_a_login_shows_nothing_of_itself(repository):
    login = GitLogin("chen-of-the-team", PASSWORD, "private-key")
    for shown in (repr(login), str(login), f"{login}"):
        assert "chen" not in shown
        assert "token" not in shown
        assert "private-key" not in shown


def test_a_stored_credential_shows_only_whose_it_is(repository):
    store_git_login(repository, "chen", PASSWORD)
    credential = repository.credentials.get()
    assert str(credential) == f"git of {repository.pk}"
    assert credential.ciphertext not in repr(credential)


def test_credentials_go_with_their_repository(repository):
    store_git_login(repository, "chen", PASSWORD)
    repository.delete()
    assert not Credential.objects.exists()


def test_use_is_noted_once_an_hour(repository):
    store_git_login(repository, "chen", PASSWORD)
    credentials.mark_used(repository)
    first = repository.credentials.get().used_at
    credentials.mark_used(repository)
    assert repository.credentials.get().used_at == first
    repository.credentials.update(used_at=first - timedelta(minutes=61))
    credentials.mark_used(repository)
    assert repository.credentials.get().used_at >= first
