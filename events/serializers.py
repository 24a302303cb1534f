"""`/event/` in JSON: table `event` by its wire names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rest_framework import serializers

from accounts.sender import sender
from ci_portal.api.problems import Problem
from ci_portal.api.texts import FreeText
from ci_portal.api.times import LegacyTime, UtcTime
from ci_portal.api.wire import WireSerializer, sources
from events.models import Event
from repos import urls
from repos.models import Repository

#: Wire name → attribute: the original's columns in its order, then the portal's own, which are read only.
WIRE = {
    "id": "id",
    "name": "name",
    "status": "status",
    "repo": "repo",
    "job": "job",
    "type": "type",
    "image": "image",
    "Image_tag": "image_tag",
    "ctime": "ctime",
    "Desc": "desc",
}
PORTAL = {
    "ctime_utc": "ctime",
    "status_label": "status_label",
    "repository": "repository_id",
    "ref": "ref",
    "commit": "commit",
    "digest": "digest",
    "reason": "reason",
    "created_by": "created_by",
    "finished_at": "finished_at",
    "managed": "managed",
}


def check_status(status: str) -> None:
    """Refuse what is no status of an event."""
    if status not in Event.LABELS:
        raise ValueError(f"must be one of {', '.join(f'{number} ({label})' for number, label in Event.LABELS.items())}.")


class EventSerializer(WireSerializer):
    """One event. Those that the portal runs change only through it, but for their description."""

    ctime = LegacyTime()
    Desc = FreeText(source="desc", required=False, allow_blank=True, max_length=300)
    ctime_utc = UtcTime(source="ctime", allow_null=True)
    status_label = serializers.CharField(read_only=True, help_text="The status in words.")
    repository = serializers.IntegerField(source="repository_id", read_only=True, allow_null=True, help_text="id in /repo/.")
    finished_at = UtcTime(allow_null=True)

    checks: dict[str, Callable[[str], None]] = {"status": check_status}

    class Meta:
        model = Event
        fields = [*WIRE, *PORTAL]
        read_only_fields = list(PORTAL)
        extra_kwargs = sources({"Image_tag": "image_tag"})

    def to_internal_value(self, data: Any) -> Any:
        """Validate; where `repo` is a URL, a login in it is dropped: an event has nothing to keep it for."""
        repo = data.get("repo")
        return super().to_internal_value({**data, "repo": urls.split(repo.strip()).url} if isinstance(repo, str) else data)

    def create(self, validated_data: dict[str, Any]) -> Event:
        """Record what happened elsewhere; nothing is launched."""
        validated_data |= {"managed": False, "created_by": self.context["view"].actor()[:150], "created_token": sender().token}
        validated_data["repository_id"] = repository_named(validated_data.get("repo", ""))
        event: Event = super().create(validated_data)
        return event

    def update(self, instance: Event, validated_data: dict[str, Any]) -> Event:
        """Change a record, and which repository it belongs to where `repo` names another."""
        name = instance.repo
        event: Event = super().update(instance, validated_data)
        if event.repo != name:
            event.repository_id = repository_named(event.repo)
            event.save(update_fields=["repository_id"])
        return event

    def guard(self, row: Event, changed: set[str]) -> None:
        """What the portal runs itself changes state only through it."""
        if row.managed and changed - {"desc"}:
            raise Problem(409, "managed", "The portal runs this event itself: only its Desc can be changed.")


def repository_named(name: str) -> int | None:
    """The id of the repository with this `repo_name`, if it is registered."""
    return Repository.objects.filter(repo_name=name).values_list("id", flat=True).first() if name else None
