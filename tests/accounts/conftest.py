from typing import Any

import pytest
from django.contrib.auth.models import User

from tests.support.roles import group_of


@pytest.fixture
def portal_settings(settings):
    """A function that sets keys of one section of the configuration."""

    def change(section: str, **keys: Any) -> None:
        changed = getattr(settings.PORTAL, section).model_copy(update=keys)
        settings.PORTAL = settings.PORTAL.model_copy(update={section: changed})

    return change


@pytest.fixture
def required(portal_settings):
    """auth.mode required, as in production."""
    portal_settings("auth", mode="required")


@pytest.fixture
def member(db):
    """A function that makes a user with a role; "" is a user without one."""

    def make(role: str, name: str = "") -> User:
        user = User.objects.create_user(name or role or "newcomer", password="correct horse battery")
        user.groups.set(group_of(role))
        return user

    return make
