"""Repositories and what is known of their credentials, in Django's admin: to look at. The portal's pages and API change them."""

from __future__ import annotations

from django.contrib import admin

from accounts.admin import PortalAdmin
from repos.models import Credential, Repository


@admin.register(Repository)
class RepositoryAdmin(PortalAdmin):
    """Table gitstat."""

    list_display = ("repo_name", "repo", "branch", "tag", "image", "user", "time")
    search_fields = ("repo_name", "repo", "name", "desc")


@admin.register(Credential)
class CredentialAdmin(PortalAdmin):
    """Table credential, without what is encrypted."""

    list_display = ("kind", "repository", "run_id", "created_at", "used_at")
    list_filter = ("kind",)
    list_select_related = ("repository",)
    fields = ("kind", "repository", "run_id", "created_at", "used_at")
    readonly_fields = ("run_id",)
    search_fields = ("repository__repo_name",)
