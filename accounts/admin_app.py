"""Django's admin as an app of the portal's."""

from django.contrib.admin.apps import AdminConfig


class PortalAdminConfig(AdminConfig):
    """`django.contrib.admin` with the portal's site."""

    default_site = "accounts.admin_site.PortalAdminSite"
