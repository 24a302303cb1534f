"""The identity of this portal among those that share a namespace; its one row is made when it is first asked for."""

from django.db import migrations, models


class Migration(migrations.Migration):
    """Create installation."""

    dependencies = [("runners", "0004_tidied")]

    operations = [
        migrations.CreateModel(
            name="Installation",
            fields=[
                ("id", models.AutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("uid", models.CharField(max_length=32)),
            ],
            options={"db_table": "installation"},
        ),
    ]
