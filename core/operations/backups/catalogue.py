"""Tables, sequences and foreign keys, read from PostgreSQL's own catalogue so that none is missed."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from sqlalchemy import Connection, text

# Written by the migrations, never copied.
STRUCTURE = "alembic_version"
TABLES = """
SELECT c.relname, array_agg(a.attname::text ORDER BY a.attnum)
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
  AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' AND c.relname <> :structure
  AND obj_description(c.oid, 'pg_class') IS DISTINCT FROM 'milepost: to be dropped'
GROUP BY c.relname ORDER BY c.relname
"""
SEQUENCES = """
SELECT s.relname, c.relname, a.attname FROM pg_depend d
JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S'
JOIN pg_class c ON c.oid = d.refobjid
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.refobjsubid
WHERE d.deptype IN ('a', 'i') AND c.relnamespace = current_schema()::regnamespace
"""
FOREIGN_KEYS = """
SELECT c.conrelid::regclass::text, quote_ident(c.conname), pg_get_constraintdef(c.oid)
FROM pg_constraint c JOIN pg_class t ON t.oid = c.conrelid
WHERE c.contype = 'f' AND c.conparentid = 0 AND t.relnamespace = current_schema()::regnamespace
"""


def tables(connection: Connection) -> Mapping[str, list[str]]:
    """Return each table's columns, except generated ones."""
    rows = connection.execute(text(TABLES), {"structure": STRUCTURE})
    return {name: list(columns) for name, columns in rows}


def last_values(connection: Connection) -> Mapping[str, int]:
    """Return the last id of each sequence that has given one out."""
    names = [name for name, _table, _column in connection.execute(text(SEQUENCES))]
    query = 'SELECT last_value FROM "{}" WHERE is_called'
    found = {name: connection.scalar(text(query.format(name))) for name in names}
    return {name: value for name, value in found.items() if value is not None}


def quoted(names: list[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


@contextmanager
def without_foreign_keys(connection: Connection) -> Iterator[None]:
    """Drop foreign keys so that rows may be loaded in any order, and check all of them at the end.

    The caller holds one transaction.
    """
    keys = connection.execute(text(FOREIGN_KEYS)).all()
    for table, name, _definition in keys:
        connection.execute(text(f"ALTER TABLE {table} DROP CONSTRAINT {name}"))
    yield
    for table, name, definition in keys:
        connection.execute(text(f"ALTER TABLE {table} ADD CONSTRAINT {name} {definition}"))
