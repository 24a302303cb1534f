"""Makes the original's four tables ready for the portal's own columns. On tables that the portal created it finds little to do.

It runs before everything else that changes a table (`run_before`), so that what can't be adopted is refused while nothing has
been touched. MariaDB can't roll DDL back: every step first looks whether it is still needed, so a broken run is simply repeated.
"""

from __future__ import annotations

import re
from typing import Any

from django.core.management.base import CommandError
from django.db import migrations, models

TABLES = ("gitstat", "event", "runner", "log")
TIMES = {"gitstat": "Time", "event": "ctime", "runner": "ctime", "log": "create_at"}
INDEXED = {"gitstat": ("repo_name",), "log": ("Repo_name", "event_uuid", "Runner_uuid")}
#: Collations that mean the same in utf8mb4; others become utf8mb4_unicode_ci.
KEPT_COLLATIONS = ("general_ci", "unicode_ci", "unicode_520_ci", "bin")


def rows(schema_editor: Any, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
    with schema_editor.connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return list(cursor.fetchall())


def refuse_names_that_are_not_unique(apps: Any, schema_editor: Any) -> None:
    """`repo_name` stands for the repository in URLs and in other tables; two of one name could never be told apart."""
    compared = "repo_name"
    if schema_editor.connection.vendor == "mysql":
        compared = f"CONVERT(repo_name USING utf8mb4) COLLATE {target_collation(schema_editor)}"
    named = "SELECT MIN(repo_name), GROUP_CONCAT(id) FROM gitstat WHERE repo_name <> ''"
    twice = rows(schema_editor, f"{named} GROUP BY {compared} HAVING COUNT(*) > 1")
    nameless = rows(schema_editor, "SELECT id FROM gitstat WHERE repo_name IS NULL OR repo_name = '' ORDER BY id")
    faults = [f"{name!r} is the name of several (id {', '.join(str(ids).split(','))})" for name, ids in twice[:20]]
    faults += [f"id {row_id} has none" for (row_id,) in nameless[:20]]
    if faults:
        raise CommandError(
            "The table gitstat can't be adopted: every repo_name must be there and unique, but "
            + "; ".join(faults)
            + ". Rename or remove those rows and run migrate again; nothing has been changed yet."
        )


def target_collation(schema_editor: Any) -> str:
    """What the four tables shall compare by: as repo_name does now, in utf8mb4. One for all, for joins need that."""
    sql = "SELECT collation_name FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = 'gitstat'"
    collation = str(rows(schema_editor, f"{sql} AND column_name = 'repo_name'")[0][0])
    charset, _, kind = collation.partition("_")
    if not re.fullmatch(r"\w+", collation):
        raise CommandError(f"gitstat.repo_name has the collation {collation!r}, which is not known here")
    if charset == "utf8mb4":
        return collation
    return f"utf8mb4_{kind}" if kind in KEPT_COLLATIONS else "utf8mb4_unicode_ci"


def give_tables_unicode_and_transactions(apps: Any, schema_editor: Any) -> None:
    """MariaDB: utf8mb4, so that any text fits beside the old; InnoDB, because event and run change together or not at all."""
    if schema_editor.connection.vendor != "mysql":
        return
    collation = target_collation(schema_editor)
    default = "SELECT default_character_set_name FROM information_schema.schemata WHERE schema_name = DATABASE()"
    if rows(schema_editor, default) != [("utf8mb4",)]:
        # The default of tables still to be made: Django's and the portal's own.
        name = schema_editor.quote_name(schema_editor.connection.settings_dict["NAME"])
        schema_editor.execute(f"ALTER DATABASE {name} CHARACTER SET utf8mb4 COLLATE {collation}")
    for table in TABLES:
        of_table = "FROM information_schema.{} WHERE table_schema = DATABASE() AND table_name = %s"
        [(engine, row_format)] = rows(schema_editor, f"SELECT engine, row_format {of_table.format('tables')}", table)
        columns = f"SELECT DISTINCT collation_name {of_table.format('columns')} AND collation_name IS NOT NULL"
        changes = [] if str(engine).lower() == "innodb" else ["ENGINE=InnoDB"]
        # Only DYNAMIC keeps long columns outside the row; the others would find no room for the new columns.
        changes += [] if str(row_format).lower() == "dynamic" else ["ROW_FORMAT=DYNAMIC"]
        if set(rows(schema_editor, columns, table)) - {(collation,)}:
            changes.append(f"CONVERT TO CHARACTER SET utf8mb4 COLLATE {collation}")
        if changes:
            schema_editor.execute(f"ALTER TABLE {table} {', '.join(changes)}")


def keep_times_as_they_are(apps: Any, schema_editor: Any) -> None:
    """MariaDB gives a table's first TIMESTAMP column ON UPDATE CURRENT_TIMESTAMP unasked: each UPDATE would lose the time.

    https://mariadb.com/kb/en/timestamp/. The column's type, nullability, default and comment stay. A zero date, which no
    program can read as a time, becomes NULL.
    """
    if schema_editor.connection.vendor != "mysql":
        return
    for table, column in TIMES.items():
        sql = (
            "SELECT column_type, is_nullable, column_default, extra, column_comment FROM information_schema.columns"
            " WHERE table_schema = DATABASE() AND table_name = %s AND column_name = %s"
        )
        [(kind, nullable, default, extra, comment)] = rows(schema_editor, sql, table, column)
        name = schema_editor.quote_name(column)
        zero = bool(rows(schema_editor, f"SELECT 1 FROM {table} WHERE {name} = '0000-00-00 00:00:00' LIMIT 1"))  # noqa: S608 (constants)
        if "on update" in str(extra).lower() or (zero and nullable == "NO"):
            null = nullable == "YES" or zero
            value = default_clause(str(kind), null, default)
            definition = f"{kind} {'NULL' if null else 'NOT NULL'} DEFAULT {value}"
            schema_editor.execute(f"ALTER TABLE {table} MODIFY {name} {definition} COMMENT %s", (comment,))
        if zero:
            schema_editor.execute(f"UPDATE {table} SET {name} = NULL WHERE {name} = '0000-00-00 00:00:00'")  # noqa: S608


def default_clause(kind: str, nullable: bool, default: Any) -> str:
    """A DEFAULT as SQL, from how information_schema tells it: MariaDB in SQL, MySQL as bare text, NULL where there is none."""
    digits = re.search(r"\(\d+\)", kind)
    now = f"CURRENT_TIMESTAMP{digits[0] if digits else ''}"
    text = "NULL" if default is None else str(default).strip("'")
    if text.lower().startswith("current_timestamp"):
        return now
    if text.upper() == "NULL" or text.startswith("0000-00-00"):
        return "NULL" if nullable else now
    return f"'{text}'" if re.fullmatch(r"[0-9 :.-]+", text) else now


def add_missing_indexes(apps: Any, schema_editor: Any) -> None:
    """Tables made by hand may lack the unique index on repo_name, or those that came with log's foreign keys."""
    connection = schema_editor.connection
    for table, columns in INDEXED.items():
        with connection.cursor() as cursor:
            known = connection.introspection.get_constraints(cursor, table).values()
        for column in columns:
            unique = column == "repo_name"
            if unique and not any(found["unique"] and same(found["columns"], column) for found in known):
                schema_editor.execute(f"CREATE UNIQUE INDEX gitstat_repo_name_once ON gitstat ({schema_editor.quote_name(column)})")
            elif not unique and not any(found["index"] and same(found["columns"][:1], column) for found in known):
                name = f"log_{column.lower()}_adopted"
                schema_editor.execute(f"CREATE INDEX {name} ON {table} ({schema_editor.quote_name(column)})")


def same(columns: list[str], column: str) -> bool:
    return [name.lower() for name in columns] == [column.lower()]


def reference(name: str, to: str, column: str, **more: Any) -> migrations.AlterField:
    """The reference without a database constraint: history outlives what it tells of, and ids of hand-made tables vary in type."""
    field = models.ForeignKey(
        to,
        db_column=column,
        null=True,
        blank=True,
        on_delete=models.deletion.DO_NOTHING,
        db_constraint=False,
        related_name="logs",
        **more,
    )
    return migrations.AlterField("log", name, field)


class Migration(migrations.Migration):
    dependencies = [("logs", "0001_initial"), ("repos", "0001_initial"), ("events", "0001_initial"), ("runners", "0001_initial")]
    run_before = [
        ("repos", "0002_portal"),
        ("events", "0002_portal"),
        ("runners", "0002_portal"),
        ("logs", "0002_portal"),
        ("contenttypes", "0001_initial"),
        ("sessions", "0001_initial"),
    ]

    operations = [
        migrations.RunPython(refuse_names_that_are_not_unique, migrations.RunPython.noop, atomic=False),
        reference("repository", "repos.repository", "Repo_name", to_field="repo_name"),
        reference("event", "events.event", "event_uuid"),
        reference("run", "runners.run", "Runner_uuid"),
        migrations.RunPython(give_tables_unicode_and_transactions, migrations.RunPython.noop, atomic=False),
        migrations.RunPython(keep_times_as_they_are, migrations.RunPython.noop, atomic=False),
        migrations.RunPython(add_missing_indexes, migrations.RunPython.noop, atomic=False),
    ]
