"""Moves the credentials of adopted rows into encrypted storage, and masks them wherever else they stand.

In this order, so that it can be broken off anywhere and run again: every secret is collected, then masked in texts, then moved out
of its column. Only the moving makes a secret disappear from where it is collected, and by then no text holds it any more.
Nothing here changes a time: the rows are changed by UPDATEs of single columns, in transactions of BATCH rows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from django.core.management.base import CommandError
from django.db import migrations, transaction

from logs.masking import Masker
from repos.credentials import CredentialUnreadable, decrypt, encrypt
from repos.urls import SplitUrl, split

BATCH = 500
#: Columns that hold a git URL, and those that hold text in which a credential may stand.
URLS = (("repos", "Repository", "repo"), ("events", "Event", "repo"), ("runners", "Run", "repo_path"))
TEXTS = (("repos", "Repository", "desc"), ("events", "Event", "desc"), ("runners", "Run", "desc"), ("logs", "Log", "msg"))
#: A login inside a URL inside a text. An ssh user without a password is none.
_LOGIN = re.compile(r"(?i)\b(?!ssh://[^\s/?#:@]*@)([a-z][a-z0-9+.-]*://)[^\s/?#]+@")


def move_credentials(apps: Any, schema_editor: Any) -> None:
    using = schema_editor.connection.alias
    secrets = stored_secrets(apps, using) | secrets_in_columns(apps, using)
    mask_texts(apps, using, secrets)
    for app, model, column in URLS:
        clean_urls(apps, using, app, model, column)
    move_registry_passwords(apps, using)


def batches(rows: Any) -> Iterator[list[Any]]:
    """The rows by id, BATCH at a time; each batch is read when it is due, so changed rows do no harm."""
    rows = rows.order_by("pk")
    batch = list(rows[:BATCH])
    while batch:
        yield batch
        batch = list(rows.filter(pk__gt=batch[-1][0])[:BATCH])


def stored_secrets(apps: Any, using: str) -> set[str]:
    """What an earlier, broken run moved already. Refuses to go on where the keys don't fit: two keys must not come to be in use."""
    found: set[str] = set()
    credentials = apps.get_model("repos", "Credential").objects.using(using)
    for batch in batches(credentials.values_list("pk", "kind", "ciphertext")):
        for pk, kind, ciphertext in batch:
            try:
                found.add(decrypt(ciphertext, f"credential {pk} ({kind})").get("password", ""))
            except CredentialUnreadable as error:
                raise CommandError(f"{error}. No row was changed.") from None
    return found


def secrets_in_columns(apps: Any, using: str) -> set[str]:
    found: set[str] = set()
    for app, model, column in URLS:
        rows = apps.get_model(app, model).objects.using(using).filter(**{f"{column}__contains": "@"})
        for batch in batches(rows.values_list("pk", column)):
            found |= {secret_of(split(url.strip())) for _, url in batch}
    runs = apps.get_model("runners", "Run").objects.using(using).filter(registry_pass__gt="")
    for batch in batches(runs.values_list("pk", "registry_pass")):
        found |= {password for _, password in batch}
    return found


def secret_of(url: SplitUrl) -> str:
    """The password; where there is none, the user name, for a token is often written in its place."""
    return url.password or url.username


def masker(secrets: set[str]) -> Callable[[str], str]:
    stream = Masker(secrets)

    def mask(text: str) -> str:
        # The line feed ends the text for the masker: it holds nothing back for the next one.
        return stream.feed(_LOGIN.sub(r"\1***@", text).encode() + b"\n").decode("utf-8", "replace").removesuffix("\n")

    return mask


def mask_texts(apps: Any, using: str, secrets: set[str]) -> None:
    mask = masker(secrets)
    for app, model, column in TEXTS:
        manager = apps.get_model(app, model).objects.using(using)
        width = manager.model._meta.get_field(column).max_length
        for batch in batches(manager.filter(**{f"{column}__gt": ""}).values_list("pk", column)):
            masked = {pk: mask(text)[:width] for pk, text in batch}
            write(manager, column, {pk: masked[pk] for pk, text in batch if masked[pk] != text})


def clean_urls(apps: Any, using: str, app: str, model: str, column: str) -> None:
    """Take the logins out of a column of URLs and store them: a repository's and a run's own, an event's for its repository."""
    manager = apps.get_model(app, model).objects.using(using)
    for batch in batches(manager.filter(**{f"{column}__contains": "@"}).values_list("pk", column)):
        found = {pk: split(url.strip()) for pk, url in batch}
        found = {pk: url for pk, url in found.items() if url.username or url.password}
        with transaction.atomic(using):
            if model == "Event":
                store(apps, using, "git", "repository_id", of_their_repositories(apps, using, found.values()))
            else:
                store(apps, using, "git", f"{model.lower()}_id", {pk: login(url) for pk, url in found.items()})
            write(manager, column, {pk: url.url for pk, url in found.items()})


def login(url: SplitUrl) -> dict[str, str]:
    return {"username": url.username, "password": url.password}


def of_their_repositories(apps: Any, using: str, urls: Iterable[SplitUrl]) -> dict[int, dict[str, str]]:
    """Logins that only an event's URL held, for the repositories of that URL that have none; what else there is, is history."""
    logins = {url.url: login(url) for url in urls}
    repositories = apps.get_model("repos", "Repository").objects.using(using).filter(repo__in=list(logins))
    return {pk: logins[url] for pk, url in repositories.exclude(credentials__kind="git").values_list("pk", "repo") if url in logins}


def move_registry_passwords(apps: Any, using: str) -> None:
    runs = apps.get_model("runners", "Run").objects.using(using)
    for batch in batches(runs.filter(registry_pass__gt="").values_list("pk", "registry_name", "registry_pass")):
        logins = {pk: {"username": username, "password": password} for pk, username, password in batch}
        with transaction.atomic(using):
            store(apps, using, "registry", "run_id", logins)
            runs.filter(pk__in=list(logins)).update(registry_pass="")


def store(apps: Any, using: str, kind: str, owner: str, logins: dict[int, dict[str, str]]) -> None:
    """Set the credential of this kind of each owner."""
    credentials = apps.get_model("repos", "Credential").objects.using(using)
    credentials.filter(kind=kind, **{f"{owner}__in": list(logins)}).delete()
    credentials.bulk_create(
        [credentials.model(kind=kind, ciphertext=encrypt(value), **{owner: pk}) for pk, value in logins.items()]
    )


def write(manager: Any, column: str, values: dict[int, str]) -> None:
    """Set one column of these rows, and no other: not the time."""
    manager.bulk_update([manager.model(pk=pk, **{column: value}) for pk, value in values.items()], [column], batch_size=BATCH)


class Migration(migrations.Migration):
    atomic = False  # each batch is a transaction of its own

    dependencies = [
        ("repos", "0002_portal"),
        ("events", "0002_portal"),
        ("runners", "0002_portal"),
        ("logs", "0002_portal"),
    ]

    operations = [migrations.RunPython(move_credentials, migrations.RunPython.noop)]
