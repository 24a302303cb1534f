"""Indexes for what retention looks for every hour."""

from django.db import migrations, models


class Migration(migrations.Migration):
    """Find the oldest events, those of each repository, and the oldest records without reading the whole table."""

    dependencies = [("events", "0002_portal")]

    operations = [
        migrations.AddIndex("event", models.Index(fields=["finished_at"], name="event_finished_at")),
        migrations.AddIndex("event", models.Index(fields=["repo", "status", "managed"], name="event_of_repository")),
        migrations.AddIndex("event", models.Index(fields=["managed", "ctime"], name="event_recorded")),
    ]
