"""Events in Django's admin: to look at. Their states change by what happens alone."""

from __future__ import annotations

from django.contrib import admin

from accounts.admin import PortalAdmin
from events.models import Event


@admin.register(Event)
class EventAdmin(PortalAdmin):
    """Table event."""

    list_display = ("id", "name", "repo", "status", "image", "image_tag", "created_by", "ctime")
    list_filter = ("status", "managed")
    search_fields = ("name", "repo", "commit")
