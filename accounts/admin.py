"""Accounts in Django's admin, and what all its pages share: read-only unless said otherwise, each change in the audit."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.http import HttpRequest

from accounts.models import ApiToken, Attempts, AuditEntry, Identity
from accounts.roles import ROLES, Level, level_of


class PortalAdmin(admin.ModelAdmin):
    """A table for admins to look at. What a subclass lets them change is audited."""

    show_full_result_count = False
    list_per_page = 50
    may_add = may_change = may_delete = False

    def _is_admin(self, request: HttpRequest) -> bool:
        return level_of(request) >= Level.ADMIN

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Admins."""
        return self._is_admin(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Admins."""
        return self._is_admin(request)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Admins, where rows may be added here."""
        return self.may_add and self._is_admin(request)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Admins, where rows may be changed here."""
        return self.may_change and self._is_admin(request)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Admins, where rows may be deleted here."""
        return self.may_delete and self._is_admin(request)

    def _noun(self) -> str:
        return str(self.model._meta.verbose_name)

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        """Tell the audit."""
        AuditEntry.objects.record("change", str(obj), f"{self._noun()} {obj} added")
        return super().log_addition(request, obj, message)

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        """Tell the audit which fields."""
        fields = [name for entry in message if isinstance(entry, dict) for name in entry.get("changed", {}).get("fields", [])]
        AuditEntry.objects.record("change", str(obj), f"{self._noun()} {obj} changed: {', '.join(fields)}")
        return super().log_change(request, obj, message)

    def log_deletions(self, request: HttpRequest, queryset: Any) -> Any:
        """Tell the audit."""
        for obj in queryset:
            AuditEntry.objects.record("change", str(obj), f"{self._noun()} {obj} deleted")
        return super().log_deletions(request, queryset)


admin.site.unregister(
    (get_user_model(), Group)
)  # Django's own let one set a password, and make oneself a superuser, past the audit


@admin.register(get_user_model())
class UserAdmin(PortalAdmin):
    """To look at; their page in the portal changes them."""

    list_display = ("username", "is_active", "is_superuser", "last_login", "date_joined")
    list_filter = ("is_active", "is_superuser", "groups")
    search_fields = ("username",)
    exclude = ("password",)

    def view_on_site(self, obj: Any) -> str:
        """The user's page."""
        return f"/users/{obj.pk}/"


@admin.register(Group)
class GroupAdmin(PortalAdmin):
    """Groups of one's own; the three that are roles stay as they are."""

    may_add = may_change = may_delete = True
    list_display = ("name",)
    search_fields = ("name",)
    filter_horizontal = ("permissions",)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Not of a role."""
        return super().has_change_permission(request) and (obj is None or obj.name not in ROLES)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Not of a role."""
        return super().has_delete_permission(request) and obj is not None and obj.name not in ROLES


@admin.register(ApiToken)
class TokenAdmin(PortalAdmin):
    """To look at; the portal's page revokes them."""

    list_display = ("user", "name", "start", "scope", "created_at", "used_at", "used_from", "expires_at")
    list_filter = ("scope",)
    list_select_related = ("user",)
    search_fields = ("name", "user__username")
    exclude = ("digest",)


@admin.register(Identity)
class IdentityAdmin(PortalAdmin):
    """Who a user is at the OpenID Connect provider; a wrong one may go."""

    may_delete = True
    list_display = ("user", "issuer", "subject", "created_at")
    list_select_related = ("user",)
    search_fields = ("user__username", "subject")


@admin.register(Attempts)
class AttemptsAdmin(PortalAdmin):
    """Failed logins; deleting a line is what `manage.py unlock` does."""

    may_delete = True
    list_display = ("username", "address", "count", "since")
    search_fields = ("username", "address")
