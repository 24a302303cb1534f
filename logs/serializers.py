"""`/log/` in JSON: table `log` by its wire names."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from ci_portal.api.texts import FreeText, Text
from ci_portal.api.times import LegacyTime, UtcTime
from ci_portal.api.wire import WireSerializer, sources
from logs.models import Log

#: Wire name → attribute, in the contract's order.
WIRE = {"id": "id", "Repo_name": "repository", "event_uuid": "event", "Runner_uuid": "run", "msg": "msg", "create_at": "create_at"}
PORTAL = {"create_at_utc": "create_at", "actor": "actor"}


class RepositoryName(Text):
    """The `repo_name` of a registered repository, "" for none. Read without a query: the column holds the name itself."""

    def to_internal_value(self, data: Any) -> str:
        """Read it. Raises ValidationError for a name that is not registered."""
        name = super().to_internal_value(data)
        repositories = Log._meta.get_field("repository").related_model._default_manager
        if not repositories.filter(repo_name=name).exists():
            raise serializers.ValidationError(f"There is no repository {name!r}.", "does_not_exist")
        return name


class LogSerializer(WireSerializer):
    """One line of history."""

    Repo_name = RepositoryName(source="repository_id", required=False, allow_blank=True)
    # An adopted column may be TEXT, which ends at 65,535 bytes: so many characters fit, whatever they are.
    msg = FreeText(required=False, allow_blank=True, max_length=16000)
    create_at = LegacyTime()
    create_at_utc = UtcTime(source="create_at", allow_null=True)

    class Meta:
        model = Log
        fields = [*WIRE, *PORTAL]
        read_only_fields = list(PORTAL)
        extra_kwargs = sources({"event_uuid": "event", "Runner_uuid": "run"})

    def to_representation(self, instance: Log) -> dict[str, Any]:
        """Show NULL texts of adopted rows as empty ones."""
        row: dict[str, Any] = super().to_representation(instance)
        return {**row, "Repo_name": row["Repo_name"] or "", "msg": row["msg"] or ""}

    def create(self, validated_data: dict[str, Any]) -> Log:
        """Write a line."""
        validated_data["repository_id"] = validated_data.get("repository_id") or None
        entry: Log = super().create({**validated_data, "actor": self.context["view"].actor()[:150]})
        return entry

    def update(self, instance: Log, validated_data: dict[str, Any]) -> Log:
        """Change a line."""
        if "repository_id" in validated_data:
            validated_data["repository_id"] = validated_data["repository_id"] or None
        entry: Log = super().update(instance, validated_data)
        return entry
