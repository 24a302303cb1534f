import pytest
from django.contrib.auth.models import Group, User


@pytest.fixture
def required(settings):
    """auth.mode required, as in production."""
    auth = settings.PORTAL.auth.model_copy(update={"mode": "required"})
    settings.PORTAL = settings.PORTAL.model_copy(update={"auth": auth})


@pytest.fixture
def member(db):
    """A function that makes a user with a role; "" is a user without one."""

    def make(role: str, name: str = "") -> User:
        user = User.objects.create_user(name or role or "newcomer", password="correct horse battery")
        user.groups.set(Group.objects.filter(name=role))
        return user

    return make
