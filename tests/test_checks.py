"""What the portal says at its start about where it runs."""

import pytest
from django.core import checks

from ci_portal.checks import has_wal_reset_bug


def ids(**options):
    return {message.id for message in checks.run_checks(**options)}


@pytest.fixture
def configure(settings):
    """Returns a function that changes keys of the configuration's sections, and which mode it runs in."""

    def change(development=False, **sections):
        changed = {name: getattr(settings.PORTAL, name).model_copy(update=keys) for name, keys in sections.items()}
        settings.PORTAL = settings.PORTAL.model_copy(update={"development": development, **changed})

    return change


@pytest.mark.parametrize("version", [(3, 40, 1), (3, 44, 5), (3, 45, 0), (3, 50, 6), (3, 51, 0), (3, 51, 2)])
def test_a_sqlite_with_the_wal_reset_bug_is_known(version):
    assert has_wal_reset_bug(version)


@pytest.mark.parametrize("version", [(3, 44, 6), (3, 44, 9), (3, 50, 7), (3, 51, 3), (3, 52, 0), (4, 0, 0)])
def test_a_sqlite_without_it_is_known(version):
    assert not has_wal_reset_bug(version)


def test_it_names_the_version_and_what_to_do(settings, configure):
    configure(database={"engine": "sqlite"})
    settings.SQLITE_VERSION = (3, 40, 1)
    [warning] = [message for message in checks.run_checks() if message.id == "ci_portal.W001"]
    assert "SQLite 3.40.1" in warning.msg
    assert "3.51.3" in warning.hint
    assert warning.level == checks.WARNING


def test_a_sound_sqlite_gives_no_warning(settings, configure):
    configure(database={"engine": "sqlite"})
    settings.SQLITE_VERSION = (3, 51, 3)
    assert "ci_portal.W001" not in ids()


def test_the_version_of_sqlite_does_not_matter_on_mysql(settings, configure):
    configure(database={"engine": "mysql"})
    settings.SQLITE_VERSION = (3, 40, 1)
    assert "ci_portal.W001" not in ids()


def test_an_open_portal_is_named_before_it_is_deployed(configure):
    configure(auth={"mode": "open"})
    assert "ci_portal.W002" in ids(include_deployment_checks=True)
    assert "ci_portal.W002" not in ids()


def test_development_may_be_open(configure):
    configure(development=True, auth={"mode": "open"})
    assert "ci_portal.W002" not in ids(include_deployment_checks=True)


def test_a_portal_with_a_login_gives_no_warning(configure):
    configure(auth={"mode": "required"})
    assert "ci_portal.W002" not in ids(include_deployment_checks=True)
