"""Which API token asked for an event."""

from django.db import migrations, models


class Migration(migrations.Migration):
    """A column for the token's name; events before it have none."""

    dependencies = [("events", "0005_lookups")]

    operations = [
        migrations.AddField("event", "created_token", models.CharField(blank=True, db_default="", default="", max_length=100))
    ]
