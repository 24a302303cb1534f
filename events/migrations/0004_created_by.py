"""An index for the builds that somebody started."""

from django.db import migrations, models


class Migration(migrations.Migration):
    """Find a person's events, newest first, without reading the whole table."""

    dependencies = [("events", "0003_retention")]

    operations = [migrations.AddIndex("event", models.Index(fields=["created_by"], name="event_created_by"))]
