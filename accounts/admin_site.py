"""Django's admin behind the portal's own door: for the role admin, with the portal's login, logout and password page."""

from __future__ import annotations

from typing import Any

from django.contrib.admin import AdminSite
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext_lazy as _

from accounts.login import Logout
from accounts.pages import guarded
from accounts.roles import Level, level_of


class PortalAdminSite(AdminSite):
    """`/admin/`."""

    site_title = "CI Portal"
    site_header = _("CI Portal: tables")
    index_title = _("Tables")
    enable_nav_sidebar = False

    def has_permission(self, request: HttpRequest) -> bool:
        """Whether somebody with the role admin has logged in; with auth.mode open too: what is written here needs an author."""
        return request.user.is_authenticated and level_of(request) >= Level.ADMIN

    def get_urls(self) -> list[Any]:
        """Without the detour to an object's page, which takes any table, also those that are none."""
        return [url for url in super().get_urls() if getattr(url, "name", "") != "view_on_site"]

    def admin_view(self, view: Any, cacheable: bool = False) -> Any:
        """A view of the admin, with the answers of the portal's pages to whom it is not for."""
        return guarded(super().admin_view(view, cacheable), Level.ADMIN)

    def login(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """The portal's own login, which locks out and audits."""
        return redirect("login")

    def logout(self, request: HttpRequest, extra_context: Any = None) -> Any:
        """The portal's own."""
        return Logout.as_view()(request)

    def password_change(self, request: HttpRequest, extra_context: Any = None) -> Any:
        """The portal's own page, which ends other sessions."""
        return redirect("account-password")
