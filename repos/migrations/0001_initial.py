"""The original's table `gitstat`, as SPEC section 1 lists it. An existing one is adopted by `migrate --fake-initial`."""

from django.db import migrations, models

from ci_portal.api.columns import TextColumn


class Migration(migrations.Migration):
    """Create `gitstat` where it does not exist yet."""

    initial = True
    dependencies: list[tuple[str, str]] = []

    operations = [
        migrations.CreateModel(
            name="Repository",
            fields=[
                ("id", models.AutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("repo_name", models.CharField(max_length=150, unique=True)),
                ("repo", TextColumn(blank=True, default="", max_length=200, null=True)),
                ("branch", TextColumn(blank=True, default="", max_length=150, null=True)),
                ("tag", TextColumn(blank=True, default="", max_length=100, null=True)),
                ("build_path", TextColumn(blank=True, default="", max_length=150, null=True)),
                ("dockerfile", TextColumn(blank=True, default="", max_length=150, null=True)),
                ("job", TextColumn(blank=True, default="", max_length=100, null=True)),
                ("type", TextColumn(blank=True, default="", max_length=20, null=True)),
                ("image", TextColumn(blank=True, default="", max_length=150, null=True)),
                ("desc", TextColumn(blank=True, default="", max_length=200, null=True)),
                ("time", models.DateTimeField(auto_now_add=True, db_column="Time", null=True)),
                ("user", TextColumn(blank=True, default="", max_length=50, null=True)),
                ("ca_secret", TextColumn(blank=True, default="", max_length=150, null=True)),
                ("name", TextColumn(blank=True, default="", max_length=50, null=True)),
            ],
            options={"db_table": "gitstat", "ordering": ["-id"], "verbose_name_plural": "repositories"},
        ),
    ]
