"""The original's table `event`, as SPEC section 1 lists it. An existing one is adopted by `migrate --fake-initial`."""

from django.db import migrations, models

from ci_portal.api.columns import TextColumn


class Migration(migrations.Migration):
    """Create `event` where it does not exist yet."""

    initial = True
    dependencies: list[tuple[str, str]] = []

    operations = [
        migrations.CreateModel(
            name="Event",
            fields=[
                ("id", models.AutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", TextColumn(blank=True, default="", max_length=100, null=True)),
                ("status", TextColumn(blank=True, default="1", max_length=20, null=True)),
                ("repo", TextColumn(blank=True, default="", max_length=150, null=True)),
                ("job", TextColumn(blank=True, default="", max_length=100, null=True)),
                ("type", TextColumn(blank=True, default="", max_length=50, null=True)),
                ("image", TextColumn(blank=True, default="", max_length=200, null=True)),
                ("image_tag", TextColumn(blank=True, db_column="Image_tag", default="", max_length=20, null=True)),
                ("ctime", models.DateTimeField(auto_now_add=True, null=True)),
                ("desc", TextColumn(blank=True, db_column="Desc", default="", max_length=300, null=True)),
            ],
            options={"db_table": "event", "ordering": ["-id"]},
        ),
    ]
