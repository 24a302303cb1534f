"""`/job/` in JSON: table `runner` by its wire names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db.models import F, QuerySet, Value
from django.db.models.functions import Coalesce
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from ci_portal.api.problems import Problem
from ci_portal.api.texts import FreeText, Secret
from ci_portal.api.times import LegacyTime, UtcTime
from ci_portal.api.wire import WireSerializer, sources
from repos import urls
from repos.credentials import store
from repos.models import Credential
from runners.models import Run

#: Wire name → attribute: the original's columns in its order, then the portal's own, which are read only.
WIRE = {
    "id": "id",
    "name": "name",
    "status": "status",
    "type": "type",
    "desc": "desc",
    "ctime": "ctime",
    "REGISTORY_ADD": "registory_add",
    "REGISTRY_NAME": "registry_name",
    "IMAGE_REPO": "image_repo",
    "IMAGE_NAME": "image_name",
    "IMAGE_TAG": "image_tag",
    "REPO_PATH": "repo_path",
    "REPO_DOCKERFILE": "repo_dockerfile",
    "BUILD_PATH": "build_path",
}
PORTAL = {
    "ctime_utc": "ctime",
    "event": "event_id",
    "attempt": "attempt",
    "automatic": "automatic",
    "backend": "backend",
    "builder": "builder",
    "ref": "ref",
    "commit": "commit",
    "ca_secret": "ca_secret",
    "digest": "digest",
    "reason": "reason",
    "phases": "phases",
    "launched_at": "launched_at",
    "started_at": "started_at",
    "finished_at": "finished_at",
    "cancelled_by": "cancelled_by",
    "cancel_requested_at": "cancel_requested_at",
    "managed": "managed",
    "output_bytes": "output_bytes",
    "output_verdict": "output_verdict",
}
STATUSES = (*Run.ACTIVE, *Run.FINAL)


def check_status(status: str) -> None:
    """Refuse what is no status of a run."""
    if status not in STATUSES:
        raise ValueError(f"must be one of {', '.join(STATUSES)}.")


def described(queryset: QuerySet[Run]) -> QuerySet[Any]:
    """Runs with what is known of their output, at no query of their own."""
    return queryset.annotate(
        output_bytes=Coalesce(F("output__size"), Value(0)), output_verdict=Coalesce(F("output__verdict"), Value(""))
    )


def describe_new(run: Run) -> None:
    """Give a run that was just recorded what `described` would read."""
    run.output_bytes, run.output_verdict = 0, ""  # type: ignore[attr-defined]


@extend_schema_field({"type": ["object", "null"], "description": "When each container began and ended, as far as it is known."})
class Phases(serializers.JSONField):
    """What containers told of their times."""


class RunSerializer(WireSerializer):
    """One run. Those that the portal launched change only through it, but for their description."""

    desc = FreeText(required=False, allow_blank=True, max_length=200)
    ctime = LegacyTime()
    REGISTRY_PASS = Secret(max_length=150, help_text="Password of the registry's login; stored encrypted, never shown.")
    ctime_utc = UtcTime(source="ctime", allow_null=True)
    event = serializers.IntegerField(source="event_id", read_only=True, allow_null=True, help_text="id in /event/.")
    launched_at = UtcTime(allow_null=True)
    started_at = UtcTime(allow_null=True)
    finished_at = UtcTime(allow_null=True)
    phases = Phases(read_only=True)
    output_bytes = serializers.IntegerField(read_only=True, help_text="How much output is stored: /job/{id}/output/ has it.")
    output_verdict = serializers.CharField(read_only=True, help_text="verified, gap or unproven once the output is complete.")

    checks: dict[str, Callable[[str], None]] = {"status": check_status}

    class Meta:
        model = Run
        fields = [*WIRE, "REGISTRY_PASS", *PORTAL]
        read_only_fields = list(PORTAL)
        extra_kwargs = sources({name: attribute for name, attribute in WIRE.items() if name != "ctime"})

    def to_representation(self, instance: Run) -> dict[str, Any]:
        """The row; one that did not come from `described` is asked for anew."""
        if not hasattr(instance, "output_bytes"):
            instance = described(Run.objects.filter(pk=instance.pk)).get()
        row: dict[str, Any] = super().to_representation(instance)
        return row

    def to_internal_value(self, data: Any) -> Any:
        """Validate; a login in REPO_PATH is taken out of it, to be stored beside the run."""
        path = data.get("REPO_PATH")
        if not isinstance(path, str):
            return super().to_internal_value(data)
        found = urls.split(path.strip())
        value = super().to_internal_value({**data, "REPO_PATH": found.url})
        if found.username or found.password:
            value["git_login"] = {"username": found.username, "password": found.password}
        return value

    def create(self, validated_data: dict[str, Any]) -> Run:
        """Record what ran elsewhere; nothing is launched."""
        secrets = self._secrets(validated_data)
        run: Run = super().create({**validated_data, "managed": False})
        self._store(run, secrets)
        return run

    def update(self, instance: Run, validated_data: dict[str, Any]) -> Run:
        """Change a record."""
        secrets = self._secrets(validated_data)
        if instance.managed and secrets:
            self.guard(instance, set(secrets))
        run: Run = super().update(instance, validated_data)
        self._store(run, secrets)
        return run

    def guard(self, row: Run, changed: set[str]) -> None:
        """What the portal runs itself changes state only through it."""
        if row.managed and changed - {"desc"}:
            raise Problem(409, "managed", "The portal runs this build itself: only its desc can be changed.")

    @staticmethod
    def _secrets(validated_data: dict[str, Any]) -> dict[str, Any]:
        return {name: validated_data.pop(name) for name in ("REGISTRY_PASS", "git_login") if name in validated_data}

    def _store(self, run: Run, secrets: dict[str, Any]) -> None:
        password = secrets.get("REGISTRY_PASS")
        if password:
            store(Credential.REGISTRY, {"username": run.registry_name, "password": password}, run=run)
            self.changes.append("registry password set")
        elif password == "" and run.credentials.filter(kind=Credential.REGISTRY).delete()[0]:
            self.changes.append("registry password removed")
        if "git_login" in secrets:
            store(Credential.GIT, secrets["git_login"], run=run)
            self.changes.append("git credentials set")
