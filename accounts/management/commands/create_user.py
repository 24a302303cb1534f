"""`manage.py create_user NAME --role admin`: makes a user, or gives one another role."""

from __future__ import annotations

import getpass
import sys
from argparse import ArgumentParser
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from accounts import sessions, users
from accounts.models import AuditEntry
from accounts.roles import ROLES
from accounts.sender import Sender


class Command(BaseCommand):
    """The password is asked for at the terminal, or read from standard input: in an argument, every user would see it."""

    help = "Make a user with a role; an existing user gets the role, and a new password where one is given on standard input."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """NAME and role."""
        parser.add_argument("name", help="how the user logs in")
        parser.add_argument("--role", choices=list(ROLES), default="viewer", help="what the user may do (default: viewer)")

    def handle(self, *args: Any, name: str, role: str, **options: Any) -> None:
        """Make or change the user. Raises CommandError."""
        model: Any = get_user_model()
        user = model.objects.filter(username=name).first()
        new = user is None
        if user is None:
            user = model(username=name)
            try:
                user.full_clean(exclude=["password"])
            except ValidationError as error:
                raise CommandError(" ".join(error.messages)) from None
        password = self._password(required=new)
        if password:
            try:
                validate_password(password, user)
            except ValidationError as error:
                raise CommandError(" ".join(error.messages)) from None
            user.set_password(password)
        try:
            with transaction.atomic():
                user.save()
                self._record(user, role, new=new, password=bool(password))
        except users.LastAdmin:
            raise CommandError(f"{name} is the last admin: make another one first") from None
        self.stdout.write(f"{name} {'was made' if new else 'is there'}, with the role {role}.")

    @staticmethod
    def _record(user: Any, role: str, *, new: bool, password: bool) -> None:
        """Give the role, end the sessions of a user with a new password, tell the audit. Raises LastAdmin."""
        by = Sender(means="manage.py create_user")
        if new:
            user.groups.set(Group.objects.filter(name=role))
            AuditEntry.objects.record("user_created", user.get_username(), f"role: {role}", by=by)
            return
        users.set_role(user, role, by=by)
        if password:
            sessions.end(user)
            AuditEntry.objects.record("password_changed", user.get_username(), by=by)

    @staticmethod
    def _password(*, required: bool) -> str:
        """From the terminal, twice, or the first line of standard input. Raises CommandError."""
        if not sys.stdin.isatty():
            password = sys.stdin.readline().rstrip("\r\n")
        elif required:
            password = getpass.getpass("Password: ")
            if getpass.getpass("Password again: ") != password:
                raise CommandError("the two passwords differ")
        else:
            return ""
        if required and not password:
            raise CommandError("a new user needs a password: type it, or give it on standard input")
        return password
