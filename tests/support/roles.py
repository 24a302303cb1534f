"""The groups of the roles, which a migration makes and a test with transactions of its own empties out with all tables."""

from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType

from accounts.roles import PERMISSIONS, ROLES


def group_of(role: str) -> list[Group]:
    """The role's group with its permission, as the migration makes it; none for ""."""
    if not role:
        return []
    group, new = Group.objects.get_or_create(name=role)
    if new:
        codename = next(name for name, level in PERMISSIONS.items() if level == ROLES[role])
        content_type = ContentType.objects.get_or_create(app_label="accounts", model="access")[0]
        group.permissions.add(Permission.objects.get_or_create(content_type=content_type, codename=codename)[0])
    return [group]
