"""Prints as JSON what the portal itself reads from its database: `python -m tests.adoption.portal_view`."""

from __future__ import annotations

import json
import os
import sys
from typing import Any


def view() -> dict[str, Any]:
    """Each table's rows by column name, and the credentials, opened."""
    from events.models import Event
    from logs.models import Log
    from repos.credentials import decrypt
    from repos.models import Credential, Repository
    from runners.models import Run

    shown: dict[str, Any] = {}
    for model in (Repository, Event, Run, Log):
        columns = {field.attname: field.column for field in model._meta.concrete_fields}
        shown[model._meta.db_table] = [
            {column: getattr(row, name) for name, column in columns.items()} for row in model.objects.order_by("pk")
        ]
    shown["credential"] = [
        [credential.repository_id, credential.run_id, credential.kind, decrypt(credential.ciphertext, "it")]
        for credential in Credential.objects.order_by("kind", "repository_id", "run_id")
    ]
    return shown


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ci_portal.settings")
    import django

    django.setup()
    json.dump(view(), sys.stdout, default=str)
