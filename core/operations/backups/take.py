"""Take a backup online, from one snapshot of the database; no writer waits for it.

The broker's state is copied first. Everything a device has sent by then is in that file or, once stored, in
the snapshot; a message in both is a duplicate, which ingest detects. In the reverse order, messages in
between would be lost.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, create_engine, text
from sqlalchemy.orm import Session

from core.database import partitions
from core.database.engine import connect_arguments, driver_cursor
from core.database.schema import present_revision
from core.operations import erasure
from core.operations.backups import archive, catalogue
from core.operations.backups.archive import ArchiveWriter, Manifest

SAVED_WITHIN_S = 5.0
# A long COPY needs no statement timeout. With row_security off, a table under an RLS policy fails loudly
# instead of losing rows silently.
OPTIONS = "-c timezone=UTC -c row_security=off -c lock_timeout=60s"


def take(
    path: Path, database_url: str, keys: Mapping[str, str], broker_state: Path | None, now: datetime
) -> Manifest:
    """Write a backup to ``path``. ``keys``: `archive.key_mark` of each.

    Raises `OSError`, and SQLAlchemy's errors.
    """
    with archive.writing(path) as writer:
        if broker_state is not None:
            _await_save(broker_state)
            with broker_state.open("rb") as source:
                writer.copy(archive.BROKER, source)
        with snapshot(database_url) as connection:
            _copy_tables(connection, writer)
            manifest = _describe(connection, writer, keys, now)
        writer.finish(manifest)
    return manifest


def _await_save(broker_state: Path) -> None:
    """Wait until the broker has saved its present state; a stopped broker has done so already.

    Mosquitto writes a new file every second and renames it to this name, so the opened file is and stays
    whole. The first new file may have been begun before the wait, so two are awaited.
    """
    deadline = time.monotonic() + SAVED_WITHIN_S
    for _ in range(2):
        known = broker_state.stat().st_ino, broker_state.stat().st_mtime_ns
        while (broker_state.stat().st_ino, broker_state.stat().st_mtime_ns) == known:
            if time.monotonic() > deadline:
                return
            time.sleep(0.05)


def _copy_tables(connection: Connection, writer: ArchiveWriter) -> None:
    for table, columns in catalogue.tables(connection).items():
        query = f'COPY (SELECT {catalogue.quoted(columns)} FROM "{table}") TO STDOUT'  # noqa: S608  # names
        with writer.member(archive.member_of(table), columns) as sink, driver_cursor(connection) as cursor:
            cursor.copy_expert(query, sink)


def _describe(
    connection: Connection, writer: ArchiveWriter, keys: Mapping[str, str], now: datetime
) -> Manifest:
    session = Session(connection)
    return Manifest(
        format=archive.FORMAT,
        made_at=now,
        revision=present_revision(session) or "",
        keys=keys,
        members=writer.members,
        sequences=catalogue.last_values(connection),
        months=[month.start for month in partitions.present(connection)],
        erased=erasure.erased(session),
    )


@contextmanager
def snapshot(database_url: str) -> Iterator[Connection]:
    """Open one snapshot of all tables, locked first so that no partition is dropped before it is taken."""
    engine = create_engine(
        database_url,
        isolation_level="REPEATABLE READ",
        connect_args=connect_arguments("backup") | {"options": OPTIONS},
    )
    try:
        with engine.connect() as connection:
            tables = list(catalogue.tables(connection))
            connection.rollback()
            connection.execute(text("SET TRANSACTION READ ONLY"))
            connection.execute(text(f"LOCK TABLE {catalogue.quoted(tables)} IN ACCESS SHARE MODE"))
            yield connection
            connection.rollback()
    finally:
        engine.dispose()
