"""What the page of a build tells besides its state: the cause of a failure, when a node was chosen, what happened around it."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    """Add the cause, the time of the placing, and the notices."""

    dependencies = [("runners", "0008_recorded")]

    operations = [
        migrations.AddField("run", "cause", models.CharField(blank=True, db_default="", default="", max_length=40)),
        migrations.AddField("run", "placed_at", models.DateTimeField(blank=True, null=True)),
        migrations.CreateModel(
            name="Notices",
            fields=[
                (
                    "run",
                    models.OneToOneField(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="notices",
                        serialize=False,
                        to="runners.run",
                    ),
                ),
                ("items", models.JSONField(default=list)),
            ],
            options={"db_table": "runner_notices"},
        ),
    ]
