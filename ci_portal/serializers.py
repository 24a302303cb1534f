"""The body of `POST /check/`."""

from __future__ import annotations

from rest_framework import serializers


class CheckSerializer(serializers.Serializer):
    """What a check may say. What it leaves out is the repository's; lengths are those of the columns that keep it."""

    repo = serializers.CharField(max_length=400, help_text="repo_name, git URL (https or ssh), or a bare name below git.base_url")
    user = serializers.CharField(max_length=150, required=False, allow_blank=True, help_text="git user")
    token = serializers.CharField(
        max_length=2000,
        required=False,
        allow_blank=True,
        trim_whitespace=False,
        write_only=True,
        help_text="git token; stored encrypted",
    )
    branch = serializers.CharField(max_length=150, required=False, allow_blank=True)
    tag = serializers.CharField(max_length=100, required=False, allow_blank=True, help_text="git tag to build, and the image's")
    dockerfile = serializers.CharField(max_length=150, required=False, allow_blank=True)
    build_path = serializers.CharField(max_length=150, required=False, allow_blank=True)
    image = serializers.CharField(max_length=150, required=False, allow_blank=True, help_text="image name without tag")
    type = serializers.CharField(max_length=20, required=False, allow_blank=True)
    desc = serializers.CharField(max_length=200, required=False, allow_blank=True)
    ca_secret = serializers.CharField(max_length=150, required=False, allow_blank=True)
    force = serializers.BooleanField(required=False, default=False, help_text="build anew even while the same build is active")
    dry_run = serializers.BooleanField(required=False, default=False, help_text="report what would happen, change nothing")
