"""The body of `POST /check/`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rest_framework import serializers

from ci_portal.api.texts import Secret, Text
from ci_portal.api.wire import Grammar
from repos import refs
from repos.serializers import check_image


class NameOrUrl(Text):
    """A registered name or a git URL, with its login still in it: the check takes it out and stores it encrypted."""

    keeps_logins = True


def _optional(max_length: int, help_text: str, check: Callable[[str], None] | None = None) -> Text:
    """A text that may be left out (the repository's own value counts) or empty (its default does)."""
    validators = [Grammar(check)] if check else []
    return Text(max_length=max_length, required=False, allow_blank=True, help_text=help_text, validators=validators)


class CheckSerializer(serializers.Serializer):
    """What a check may say. Lengths are those of the columns that keep it."""

    repo = NameOrUrl(max_length=400, help_text="repo_name, git URL (https or ssh), or a bare name below git.base_url")
    user = _optional(150, "git user")
    token = Secret(max_length=2000, help_text="git token or password; stored encrypted, never shown")
    branch = _optional(150, "branch to build; empty: the remote's HEAD", refs.check_branch)
    tag = _optional(100, "git tag to build, and then the image's tag", refs.check_tag)
    dockerfile = _optional(150, "relative to the checkout; empty: Dockerfile", refs.check_path)
    build_path = _optional(150, "build context, relative to the checkout; empty: its root", refs.check_path)
    image = _optional(150, "image name without tag", check_image)
    type = _optional(20, "kind of build; empty: dockerfile")
    desc = _optional(200, "free text")
    ca_secret = _optional(150, "Secret in the builds namespace whose ca.crt is trusted", refs.check_dns_name)
    force = serializers.BooleanField(required=False, default=False, help_text="build anew even while the same build is active")
    dry_run = serializers.BooleanField(required=False, default=False, help_text="report what would happen, change nothing")

    def to_internal_value(self, data: Any) -> Any:
        """Validate. Raises ValidationError that names every field to correct, unknown ones too."""
        errors: dict[str, Any] = {}
        if isinstance(data, dict):
            unknown = [name for name in data if name not in self.fields]
            errors = {name: [serializers.ErrorDetail("is not a field of a check.", "unknown")] for name in unknown}
        try:
            value = super().to_internal_value(data)
        except serializers.ValidationError as error:
            errors = {**error.detail, **errors}  # type: ignore[dict-item]
        if errors:
            raise serializers.ValidationError(errors)
        return value
