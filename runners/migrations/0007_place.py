"""On which machine a local build is."""

from django.db import migrations, models


class Migration(migrations.Migration):
    """Add runner.place."""

    dependencies = [("runners", "0006_automatic")]

    operations = [migrations.AddField("run", "place", models.CharField(blank=True, db_default="", default="", max_length=64))]
