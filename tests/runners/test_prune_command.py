"""`manage.py prune` tells what goes, or would go."""

from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from events.models import Event
from logs.models import OutputChunk
from tests.runners.test_housekeeping import ended, keep  # noqa: F401
from tests.support import rows

pytestmark = pytest.mark.django_db


@pytest.fixture
def old(keep):  # noqa: F811
    """An event to remove, with 5 bytes of output."""
    keep(event_days=90)
    app = rows.repository("app")
    event = ended(app, 91, printed=b"hello")
    ended(app, 1)
    return event


def said(capsys, *arguments, **options):
    call_command("prune", *arguments, **options)
    return capsys.readouterr().out.splitlines()


def test_a_dry_run_says_what_would_go_and_removes_nothing(old, capsys):
    when = f"{old.finished_at:%Y-%m-%d %H:%M} UTC"
    assert said(capsys, "--dry-run") == [
        f"events of app: 1 older than 90 days, {when}, 5 bytes",
        "Would be removed: events 1; 5 bytes.",
    ]
    assert Event.objects.count() == 2
    assert OutputChunk.objects.exists()


def test_it_says_what_it_removed(old, capsys):
    assert said(capsys)[-1] == "Removed: events 1; 5 bytes."
    assert not Event.objects.filter(pk=old.pk).exists()
    assert said(capsys) == ["Removed: nothing."]


def test_it_names_each_thing_if_asked(old, capsys):
    assert said(capsys, "--dry-run", verbosity=2)[0] == f"events {old.name} (older than 90 days)"


def test_only_some_kinds(old, capsys):
    assert said(capsys, "--only", "history,keys") == ["Removed: nothing."]
    with pytest.raises(CommandError, match="no 'everything'"):
        call_command("prune", "--only", "everything")


def test_output_goes_while_its_event_stays(keep, capsys):  # noqa: F811
    keep("output", retention_count=1)
    app = rows.repository("app")
    ended(app, 2, printed=b"first"), ended(app, 1, printed=b"second")
    assert said(capsys)[-1] == "Removed: output 1; 5 bytes."
    assert Event.objects.count() == 2


def test_a_hundred_years_is_a_limit_that_every_date_bears(keep, capsys):  # noqa: F811
    keep(event_days=36500, record_days=36500, log_days=36500)
    keep("output", retention_days=36500)
    assert timezone.now() - timedelta(days=36500)
    assert said(capsys) == ["Removed: nothing."]
