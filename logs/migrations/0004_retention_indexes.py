"""Indexes for what retention looks for every hour."""

from django.db import migrations, models


class Migration(migrations.Migration):
    """Find the oldest history, and the output that is kept or whose removal was broken off, without reading whole tables."""

    dependencies = [("logs", "0003_retention")]

    operations = [
        migrations.AddIndex("log", models.Index(fields=["create_at"], name="log_create_at")),
        migrations.AddIndex("output", models.Index(fields=["removed_at", "closed_at"], name="output_kept")),
        migrations.AddIndex("output", models.Index(fields=["removed_at", "archive"], name="output_removed")),
    ]
