"""`/repo/` in JSON: table `gitstat` by its wire names."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.db.models import Exists, OuterRef, QuerySet, Subquery
from rest_framework import serializers

from accounts.permissions import forbidden
from accounts.roles import Level, level_of
from ci_portal import outgoing
from ci_portal.api.problems import Problem, field_error
from ci_portal.api.texts import FreeText, Secret, SecretKey, without_logins
from ci_portal.api.times import LegacyTime, UtcTime
from ci_portal.api.wire import WireSerializer, sources
from logs.models import Log
from repos import logins, refs, urls
from repos.errors import InvalidUrl
from repos.models import Credential, Repository

#: Wire name → attribute, in the contract's order.
WIRE = {
    "id": "id",
    "repo_name": "repo_name",
    "repo": "repo",
    "branch": "branch",
    "tag": "tag",
    "build_path": "build_path",
    "dockerfile": "dockerfile",
    "job": "job",
    "type": "type",
    "image": "image",
    "desc": "desc",
    "name": "name",
    "Time": "time",
    "user": "user",
    "ca_secret": "ca_secret",
}
#: The portal's own columns.
PORTAL = {"supersede": "supersede"}
SECRETS = {"git_user": "username", "git_token": "password", "deploy_key": "ssh_key"}


def check_repo_name(name: str) -> None:
    """Refuse a name that no path could lead to (digits alone are an id, "/" stands between parts), or that a URL could mean."""
    if name.isascii() and name.isdigit():
        raise ValueError("must not be digits alone: those would be read as an id.")
    if name.startswith("-"):
        raise ValueError("must not start with a dash, as options do.")
    if re.search(r"[?#%\\]", name) or any(part in ("", ".", "..") for part in name.split("/")):
        raise ValueError(
            "must not contain any of ? # % \\, nor start or end with '/', nor have '.', '..' or nothing between two '/'."
        )
    try:
        urls.check(name)
    except InvalidUrl:
        return
    raise ValueError("must not be a git URL: a check of that URL would be taken for one of this repository.")


def check_url(url: str) -> None:
    """Refuse what git may not be given, and a host that no check could ever reach, with a ValueError."""
    try:
        outgoing.check_git_host(urls.host(url))
    except (InvalidUrl, outgoing.Refused) as error:
        raise ValueError(str(error)) from None


def check_image(name: str) -> None:
    """Refuse what is no image's name, and a registry that the portal would not ask, with a ValueError."""
    refs.check_image(name)
    try:
        outgoing.check_registry(refs.registry_of(name))
    except outgoing.Refused as error:
        raise ValueError(str(error)) from None


def check_key(key: str) -> None:
    """Refuse what is no private key, without repeating any of it."""
    if not re.match(r"-----BEGIN [A-Z ]*PRIVATE KEY-----\n.+\n-----END [A-Z ]*PRIVATE KEY-----\s*\Z", key, re.DOTALL):
        raise ValueError("must be a private key in PEM form, from its BEGIN line to its END line.")


def described(queryset: QuerySet[Repository]) -> QuerySet[Any]:
    """Repositories with whether they have credentials and their newest event, at no query of their own."""
    events = Repository._meta.get_field("events").related_model._default_manager
    newest = events.filter(repository=OuterRef("pk")).order_by("-id").values("id")[:1]
    return queryset.annotate(
        has_credentials=Exists(Credential.objects.filter(repository=OuterRef("pk"))), last_event=Subquery(newest)
    )


def describe(repository: Repository, has_credentials: bool, last_event: int) -> None:
    """Give a repository what `described` would read, where that is known."""
    repository.has_credentials, repository.last_event = has_credentials, last_event  # type: ignore[attr-defined]


class RepositorySerializer(WireSerializer):
    """One repository. Its credentials are written only: a URL's login, `git_user` and `git_token`, `deploy_key`."""

    desc = FreeText(required=False, allow_blank=True, max_length=200)
    Time = LegacyTime(source="time")
    Time_utc = UtcTime(source="time", allow_null=True)
    git_user = Secret(max_length=200, help_text="User name for the https remote; empty: remove it.")
    git_token = Secret(max_length=4000, help_text="Token or password for the https remote; empty: remove it.")
    deploy_key = SecretKey(max_length=16000, help_text="Private key for the ssh remote; empty: remove it.")
    has_credentials = serializers.BooleanField(read_only=True, help_text="Whether credentials are stored.")
    last_event = serializers.IntegerField(read_only=True, allow_null=True, help_text="id of the newest event.")

    checks: dict[str, Callable[[str], None]] = {
        "repo_name": check_repo_name,
        "repo": check_url,
        "branch": refs.check_branch,
        "tag": refs.check_tag,
        "build_path": refs.check_path,
        "dockerfile": refs.check_path,
        "job": refs.check_dns_label,
        "image": check_image,
        "ca_secret": refs.check_dns_name,
        "deploy_key": check_key,
    }

    class Meta:
        model = Repository
        fields = [*WIRE, "Time_utc", "has_credentials", "last_event", *PORTAL, *SECRETS]
        extra_kwargs = {
            **sources({name: attribute for name, attribute in WIRE.items() if name != "Time"}),
            "supersede": {"help_text": "Whether a newer check of a branch cancels builds of it that still wait."},
        }

    def to_representation(self, instance: Repository) -> dict[str, Any]:
        """The row; one that did not come from `described` is asked for anew."""
        if not hasattr(instance, "has_credentials"):
            instance = described(Repository.objects.filter(pk=instance.pk)).get()
        row: dict[str, Any] = super().to_representation(instance)
        return row

    def to_internal_value(self, data: Any) -> Any:
        """Validate, with a login in `repo` taken out of it first."""
        url = data.get("repo")
        if not isinstance(url, str):
            return super().to_internal_value(data)
        url = url.strip()
        found = urls.split(url)
        if found.username or found.password or without_logins(found.url) != found.url:
            try:
                urls.check(url)
            except InvalidUrl as error:
                raise serializers.ValidationError({"repo": [serializers.ErrorDetail(error.message, error.code)]}) from None
            if not data.get("git_user") and not data.get("git_token"):
                data = {**data, "git_user": found.username, "git_token": found.password}
        return super().to_internal_value({**data, "repo": found.url})

    def create(self, validated_data: dict[str, Any]) -> Repository:
        """Register a repository with its credentials; `user` is who does it where the request names nobody."""
        sent = self._sent(validated_data)
        self._refuse_taking_names(validated_data)
        validated_data["user"] = validated_data.get("user") or self.context["view"].actor()[:50]
        repository: Repository = super().create(validated_data)
        self.changes += logins.apply(repository, sent, moved=False)
        return repository

    def update(self, instance: Repository, validated_data: dict[str, Any]) -> Repository:
        """Change a repository. A new name goes to its history and events too; a new server gets no credential of the old one."""
        sent, name, url = self._sent(validated_data), instance.repo_name, instance.repo
        self._refuse_builders(instance, validated_data, sent)
        repository: Repository = super().update(instance, validated_data)
        if repository.repo_name != name:
            Log.objects.filter(repository_id=name).update(repository_id=repository.repo_name)
            repository.events.update(repo=repository.repo_name)
        self.changes += logins.apply(repository, sent, moved=not logins.same_place(url, repository.repo))
        return repository

    def _refuse_taking_names(self, given: dict[str, Any]) -> None:
        """With git.base_url a bare name stands for a repository there, and scripts send their credentials to whatever has it.

        So only admins may give a name to a repository elsewhere; a check of its URL registers it under a name with a hash. Raises a
        403 problem.
        """
        base = settings.PORTAL.git.base_url
        request = self.context["request"]
        if base and not urls.is_below(given["repo"], base) and level_of(request) < Level.ADMIN:
            detail = (
                f"{given['repo_name']} stands for a repository below {base} (git.base_url): give its URL, check the other URL"
                " without registering it first, or have an admin register it under this name."
            )
            raise Problem(403, "forbidden", detail, errors=[field_error("repo", detail, "forbidden")])

    def _refuse_builders(self, instance: Repository, changed: dict[str, Any], sent: logins.Sent) -> None:
        """What a name leads to, with which credentials, and whom to trust there are for admins to change. Raises a 403 problem.

        The name too: scripts send their credentials to whatever has it, and a name that was given up can be taken.
        """
        guarded = {"repo_name": instance.repo_name, "repo": instance.repo, "ca_secret": instance.ca_secret}
        wanted = changed if self.partial else {"ca_secret": "", **changed}  # PUT takes away what it does not name
        fields = [name for name, value in guarded.items() if wanted.get(name, value) != value]
        fields += [name for name, to in SECRETS.items() if getattr(sent, to) is not None]
        request = self.context["request"]
        if fields and level_of(request) < Level.ADMIN:
            raise forbidden(request, Level.ADMIN, *fields)

    @staticmethod
    def _sent(validated_data: dict[str, Any]) -> logins.Sent:
        return logins.Sent(**{to: validated_data.pop(name) for name, to in SECRETS.items() if name in validated_data})
