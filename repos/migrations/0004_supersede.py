"""Whether a newer check of a branch ends what of it still waits."""

from django.db import migrations, models


class Migration(migrations.Migration):
    """Add gitstat.supersede."""

    dependencies = [("repos", "0003_credentials")]

    operations = [migrations.AddField("repository", "supersede", models.BooleanField(db_default=False, default=False))]
