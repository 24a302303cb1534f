"""Migrations of a new database, and of the code as it is."""

import io

import pytest
from django.core.management import call_command
from django.db import connection


@pytest.mark.django_db
def test_the_models_need_no_further_migration():
    call_command("makemigrations", check=True, dry_run=True, stdout=io.StringIO())


@pytest.mark.django_db
@pytest.mark.parametrize("table", ["gitstat", "event", "runner", "log"])
def test_another_tool_may_insert_an_empty_row_into_a_new_database(table):
    given = {"gitstat": ("repo_name", "x"), "event": ("repo", "x"), "runner": ("name", "x"), "log": ("msg", "x")}[table]
    with connection.cursor() as cursor:
        cursor.execute(f"INSERT INTO {table} ({given[0]}) VALUES (%s)", [given[1]])
        cursor.execute(f"SELECT COUNT(*) FROM {table} WHERE {given[0]} = %s", [given[1]])
        assert cursor.fetchone() == (1,)
