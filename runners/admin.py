"""Runs in Django's admin: to look at. Their states change by what happens alone."""

from __future__ import annotations

from django.contrib import admin

from accounts.admin import PortalAdmin
from runners.models import Run


@admin.register(Run)
class RunAdmin(PortalAdmin):
    """Table runner, without the original's column for a password."""

    list_display = ("id", "name", "status", "backend", "builder", "image_name", "image_tag", "ctime")
    list_filter = ("status", "backend", "managed")
    search_fields = ("name", "image_name", "commit")
    raw_id_fields = ("event",)
    exclude = ("registry_pass",)
