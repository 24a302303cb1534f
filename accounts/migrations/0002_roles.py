"""Roles: three permissions, a group for each, and the scope of tokens. Tokens and users of before keep doing what they did."""

from typing import Any

from django.conf import settings
from django.db import migrations, models

ROLES = {"viewer": "read", "builder": "build", "admin": "administer"}
NAMES = {"read": "See everything but secrets", "build": "Register, check, cancel and retry", "administer": "Administer the portal"}


def make_groups(apps: Any, schema_editor: Any) -> None:
    """Django makes permissions after all migrations; the groups need theirs now. Users who could do everything still can."""
    content_type = apps.get_model("contenttypes", "ContentType").objects.get_or_create(app_label="accounts", model="access")[0]
    permissions = apps.get_model("auth", "Permission").objects
    groups = apps.get_model("auth", "Group").objects
    for role, codename in ROLES.items():
        permission = permissions.get_or_create(content_type=content_type, codename=codename, defaults={"name": NAMES[codename]})[0]
        groups.get_or_create(name=role)[0].permissions.add(permission)
    admins = groups.get(name="admin")
    for user in apps.get_model(settings.AUTH_USER_MODEL).objects.all():
        user.groups.add(admins)


class Migration(migrations.Migration):
    """Add the scope of tokens, the permissions and the groups."""

    dependencies = [
        ("accounts", "0001_api_tokens"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
    ]

    operations = [
        migrations.CreateModel(
            "Access",
            fields=[("id", models.AutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID"))],
            options={
                "managed": False,
                "default_permissions": (),
                "permissions": [(codename, NAMES[codename]) for codename in ROLES.values()],
            },
        ),
        migrations.AddField(
            "apitoken",
            "scope",
            models.CharField(
                choices=[("read", "read"), ("build", "build"), ("admin", "admin")],
                db_default="admin",
                default="build",
                max_length=10,
            ),
        ),
        migrations.RunPython(make_groups, migrations.RunPython.noop),
    ]
