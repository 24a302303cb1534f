"""The history and what is known of outputs, in Django's admin: to look at."""

from __future__ import annotations

from django.contrib import admin

from accounts.admin import PortalAdmin
from logs.models import Log, Output


@admin.register(Log)
class LogAdmin(PortalAdmin):
    """Table log."""

    list_display = ("id", "create_at", "repository_id", "event_id", "run_id", "actor", "msg")
    search_fields = ("msg", "actor")
    fields = ("create_at", "repository_id", "event_id", "run_id", "actor", "msg")
    readonly_fields = fields


@admin.register(Output)
class OutputAdmin(PortalAdmin):
    """Table output: how much was printed, and whether that is proven to be all."""

    list_display = ("run_id", "size", "verdict", "outcome", "closed_at", "archived_at", "removed_at")
    list_filter = ("verdict",)
    exclude = ("frames", "run")
