"""The original's table `runner`, as SPEC section 1 lists it. An existing one is adopted by `migrate --fake-initial`."""

from django.db import migrations, models

from ci_portal.api.columns import TextColumn


class Migration(migrations.Migration):
    """Create `runner` where it does not exist yet."""

    initial = True
    dependencies: list[tuple[str, str]] = []

    operations = [
        migrations.CreateModel(
            name="Run",
            fields=[
                ("id", models.AutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", TextColumn(blank=True, default="", max_length=100, null=True)),
                ("status", TextColumn(blank=True, default="", max_length=10, null=True)),
                ("type", TextColumn(blank=True, default="", max_length=50, null=True)),
                ("registory_add", TextColumn(blank=True, db_column="REGISTORY_ADD", default="", max_length=150, null=True)),
                ("registry_name", TextColumn(blank=True, db_column="REGISTRY_NAME", default="", max_length=150, null=True)),
                ("registry_pass", TextColumn(blank=True, db_column="REGISTRY_PASS", default="", max_length=150, null=True)),
                ("image_repo", TextColumn(blank=True, db_column="IMAGE_REPO", default="", max_length=150, null=True)),
                ("image_name", TextColumn(blank=True, db_column="IMAGE_NAME", default="", max_length=150, null=True)),
                ("image_tag", TextColumn(blank=True, db_column="IMAGE_TAG", default="", max_length=150, null=True)),
                ("repo_path", TextColumn(blank=True, db_column="REPO_PATH", default="", max_length=150, null=True)),
                ("repo_dockerfile", TextColumn(blank=True, db_column="REPO_DOCKERFILE", default="", max_length=150, null=True)),
                ("build_path", TextColumn(blank=True, db_column="BUILD_PATH", default="", max_length=150, null=True)),
                ("desc", TextColumn(blank=True, default="", max_length=200, null=True)),
                ("ctime", models.DateTimeField(auto_now_add=True, null=True)),
            ],
            options={"db_table": "runner", "ordering": ["-id"]},
        ),
    ]
