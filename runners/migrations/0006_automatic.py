"""Whether the portal made a run by itself, since the cluster had ended the attempt before it."""

from django.db import migrations, models


class Migration(migrations.Migration):
    """Add runner.automatic."""

    dependencies = [("runners", "0005_installation")]

    operations = [migrations.AddField("run", "automatic", models.BooleanField(db_default=False, default=False))]
