"""When the backend was rid of a run. What ended before this was known is taken for tidied."""

from typing import Any

from django.db import migrations, models


def trust_the_past(apps: Any, schema_editor: Any) -> None:
    """Runs that have ended were tidied at once, as far as anyone knew."""
    apps.get_model("runners", "Run").objects.filter(finished_at__isnull=False).update(tidied_at=models.F("finished_at"))


class Migration(migrations.Migration):
    """Add runner.tidied_at."""

    dependencies = [("runners", "0003_cancel")]

    operations = [
        migrations.AddField("run", "tidied_at", models.DateTimeField(blank=True, null=True)),
        migrations.RunPython(trust_the_past, migrations.RunPython.noop),
    ]
