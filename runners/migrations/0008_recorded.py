"""Index for what retention looks for every hour."""

from django.db import migrations, models


class Migration(migrations.Migration):
    """Find the oldest runs that were recorded from elsewhere without reading the whole table."""

    dependencies = [("runners", "0007_place")]

    operations = [migrations.AddIndex("run", models.Index(fields=["managed", "ctime"], name="runner_recorded"))]
