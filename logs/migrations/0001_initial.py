"""The original's table `log`, as SPEC section 1 lists it. An existing one is adopted by `migrate --fake-initial`."""

from django.db import migrations, models


class Migration(migrations.Migration):
    """Create `log` where it does not exist yet."""

    initial = True
    dependencies: list[tuple[str, str]] = [("repos", "0001_initial"), ("events", "0001_initial"), ("runners", "0001_initial")]

    operations = [
        migrations.CreateModel(
            name="Log",
            fields=[
                ("id", models.AutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "repository",
                    models.ForeignKey(
                        blank=True,
                        db_column="Repo_name",
                        null=True,
                        on_delete=models.deletion.DO_NOTHING,
                        related_name="logs",
                        to="repos.repository",
                        to_field="repo_name",
                    ),
                ),
                (
                    "event",
                    models.ForeignKey(
                        blank=True,
                        db_column="event_uuid",
                        null=True,
                        on_delete=models.deletion.DO_NOTHING,
                        related_name="logs",
                        to="events.event",
                    ),
                ),
                (
                    "run",
                    models.ForeignKey(
                        blank=True,
                        db_column="Runner_uuid",
                        null=True,
                        on_delete=models.deletion.DO_NOTHING,
                        related_name="logs",
                        to="runners.run",
                    ),
                ),
                ("msg", models.TextField(blank=True, default="", null=True)),
                ("create_at", models.DateTimeField(auto_now_add=True, null=True)),
            ],
            options={"db_table": "log", "ordering": ["-id"]},
        ),
    ]
