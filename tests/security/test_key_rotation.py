"""`manage.py rotate_keys`: every credential under the first key, whatever happens meanwhile."""

import io

import pytest
from cryptography.fernet import Fernet
from django.core.management import CommandError, call_command
from django.db.models.query import QuerySet
from pydantic import SecretStr

from repos import rotation
from repos.credentials import git_login, store, store_git_login
from repos.models import Credential, Repository
from tests.support import rows

pytestmark = pytest.mark.django_db
OLD, NEW, FOREIGN = (Fernet.generate_key().decode() for _ in range(3))


@pytest.fixture
def use_keys(settings):
    """Returns a function that makes these the configured keys."""

    def use(*keys):
        secrets = settings.PORTAL.secrets.model_copy(update={"keys": [SecretStr(key) for key in keys]})
        settings.PORTAL = settings.PORTAL.model_copy(update={"secrets": secrets})

    return use


@pytest.fixture
def stored(use_keys) -> list[Repository]:
    """Repositories whose credentials were stored when there was the old key alone; the new one is in front now."""
    use_keys(OLD)
    made = [rows.repository(f"app{number}") for number in range(7)]
    for repository in made:
        store_git_login(repository, "ci-bot", f"hidden-{repository.repo_name}")
    use_keys(NEW, OLD)
    return made


def rotate_keys(*arguments: str) -> str:
    told = io.StringIO()
    call_command("rotate_keys", *arguments, stdout=told)
    return told.getvalue()


def readable(repositories: list[Repository]) -> bool:
    return all(git_login(Repository.objects.get(pk=r.pk)).password == f"hidden-{r.repo_name}" for r in repositories)


def test_the_new_key_alone_opens_everything_afterwards(stored, use_keys):
    told = rotate_keys()
    use_keys(NEW)
    assert readable(stored)
    assert told.startswith("Of 7 credentials, 7 re-encrypted, 0 were under the first key already.\n")
    assert "No stored credential needs the other 1 of secrets.keys any more." in told


def test_credentials_of_runs_and_deploy_keys_are_rotated_too(stored, use_keys):
    use_keys(OLD)
    run = rows.run(rows.event(stored[0], status="3"))
    store(Credential.REGISTRY, {"password": "push"}, run=run)
    store(Credential.SSH_KEY, {"key": "private"}, repository=stored[0])
    use_keys(NEW, OLD)
    assert "9 re-encrypted" in rotate_keys()
    assert rotation.left_behind() == 0


def test_a_dry_run_changes_nothing_and_lets_no_key_go(stored):
    before = list(Credential.objects.order_by("pk").values_list("ciphertext"))
    told = rotate_keys("--dry-run")
    assert told == "Of 7 credentials, 7 would be re-encrypted, 0 were under the first key already.\n"
    assert list(Credential.objects.order_by("pk").values_list("ciphertext")) == before


def test_a_second_rotation_writes_nothing(stored):
    rotate_keys()
    before = list(Credential.objects.order_by("pk").values_list("ciphertext"))
    assert "0 re-encrypted, 7 were under the first key already" in rotate_keys()
    assert list(Credential.objects.order_by("pk").values_list("ciphertext")) == before


def test_age_and_last_use_stay(stored):
    before = list(Credential.objects.order_by("pk").values_list("created_at", "used_at"))
    rotate_keys()
    assert list(Credential.objects.order_by("pk").values_list("created_at", "used_at")) == before


def test_one_that_was_stopped_is_finished_by_the_next(stored, use_keys, monkeypatch):
    monkeypatch.setattr(rotation, "BATCH", 3)
    turns = iter([True, True, False])
    assert rotation.rotate(go_on=lambda: next(turns)).rotated == 6
    assert rotation.left_behind() == 1
    assert readable(stored)
    assert "1 re-encrypted, 6 were under the first key already" in rotate_keys()
    use_keys(NEW)
    assert readable(stored)


def test_a_credential_that_is_set_anew_meanwhile_is_not_put_back(stored, monkeypatch):
    """The rotation has read the old token when somebody stores another."""
    update = QuerySet.update

    def overtaken(queryset, **values):
        monkeypatch.setattr(QuerySet, "update", update)
        store_git_login(stored[0], "ci-bot", "set meanwhile")
        return update(queryset, **values)

    monkeypatch.setattr(QuerySet, "update", overtaken)
    rotate_keys()
    assert git_login(Repository.objects.get(pk=stored[0].pk)).password == "set meanwhile"


def test_no_key_can_go_while_somebody_still_writes_with_it(stored, use_keys, monkeypatch):
    rotate = rotation.rotate

    def overtaken(**options):
        done = rotate(**options)
        use_keys(OLD)
        store_git_login(stored[0], "ci-bot", "written by a process of before")
        use_keys(NEW, OLD)
        return done

    monkeypatch.setattr("repos.management.commands.rotate_keys.rotate", overtaken)
    with pytest.raises(CommandError, match="1 credentials were written with an older key meanwhile"):
        rotate_keys()


def test_a_key_that_is_missing_is_an_error_that_names_what_needs_it(stored, use_keys):
    use_keys(FOREIGN)
    store_git_login(rows.repository("lost"), "ci-bot", "hidden-lost")
    use_keys(NEW, OLD)
    with pytest.raises(CommandError, match=r"None of secrets\.keys opens these.*\n  git user and token of lost$"):
        rotate_keys()
    use_keys(NEW)
    assert readable(stored), "what could be rotated was"
    assert Credential.objects.filter(repository__repo_name="lost").exists(), "nothing is thrown away"


def test_nothing_to_do_is_no_error():
    assert rotate_keys().startswith("Of 0 credentials, 0 re-encrypted")


def test_nothing_that_is_said_holds_a_secret(stored, use_keys):
    use_keys(FOREIGN)
    with pytest.raises(CommandError) as refused:
        rotate_keys()
    kept = [*Credential.objects.values_list("ciphertext", flat=True), "hidden-app0", NEW, OLD, FOREIGN]
    assert not [secret for secret in kept if secret in str(refused.value)]
