"""Restore a backup into an empty database: the schema of its time, its rows, then today's migrations.

The whole file is verified before anything is changed. Everything else is one transaction, from dropping the
old tables to erasing the last customer again: a failure or a kill leaves the database as it was, no service
ever works on half a restore, and an erased customer never reappears, not even for a moment.
"""

import errno
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import msgspec
from alembic.util import CommandError
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.orm import Session

from core.access import system_actors
from core.database import partitions, schema
from core.database.engine import connect_arguments, driver_cursor
from core.errors import Conflict, DomainError
from core.models.people import Customer
from core.operations import erasure
from core.operations.backups import archive, catalogue
from core.operations.backups.archive import ArchiveReader, Manifest, Unusable

OPTIONS = "-c timezone=UTC"
BUSY = """
SELECT DISTINCT application_name FROM pg_stat_activity WHERE datname = current_database()
AND (application_name IN ('milepost-api', 'milepost-ingest') OR application_name LIKE 'milepost-jobs%')
ORDER BY 1
"""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """``keys``: our `archive.key_mark` values.

    ``replace`` present data; ``other_keys``: ``keys`` may differ.
    """

    keys: Mapping[str, str]
    broker_state: Path | None = None
    replace: bool = False
    other_keys: bool = False


class Restored(msgspec.Struct):
    """``erased_again`` and ``not_erased``: customers erased after the backup, as ``acme/42``."""

    manifest: Manifest
    erased_again: list[str] = []
    not_erased: list[str] = []


def restore(path: Path, database_url: str, wanted: Wanted, now: datetime) -> Restored:
    """Restore the backup. Raises `Unusable`, `Conflict`, `RoleNeeded`, `OSError`, and SQLAlchemy's errors."""
    with archive.reading(path) as backup:
        _require_same_keys(backup.manifest, wanted)
        _require_known_revision(backup.manifest)
        backup.verify()
        arguments = connect_arguments("restore") | {"options": OPTIONS}
        engine = create_engine(database_url, connect_args=arguments)
        restored = Restored(backup.manifest)
        try:
            with Session(engine) as session, _broker_state(backup, wanted):
                _require_free(session.connection(), wanted)
                schema.rebuild(session.connection(), backup.manifest.revision)
                _load(session, backup)
                schema.bring_up(session, now)
                _erase_again(session, path, restored, now)
                session.commit()
        finally:
            engine.dispose()
    return restored


def _require_same_keys(manifest: Manifest, wanted: Wanted) -> None:
    different = sorted(name for name, mark in manifest.keys.items() if wanted.keys.get(name) != mark)
    if different and not wanted.other_keys:
        raise Unusable(
            f"It was made with another {' and another '.join(different)}, without which no device gets in"
            " and no user stays logged in: set what it was, or pass --other-keys."
        )


def _require_known_revision(manifest: Manifest) -> None:
    try:
        schema.require_known(manifest.revision)
    except CommandError:
        raise Unusable(
            f"Its structure ({manifest.revision}) is newer than this Milepost: update first."
        ) from None


def _require_free(connection: Connection, wanted: Wanted) -> None:
    busy = connection.scalars(text(BUSY)).all()
    if busy:
        raise Conflict(f"Stop what works on the database first: {', '.join(busy)}.")
    _require_ours(connection)
    has_tables = connection.scalar(text("SELECT to_regclass('company') IS NOT NULL"))
    has_rows = has_tables and connection.scalar(text("SELECT EXISTS (SELECT FROM company)"))
    if has_rows and not wanted.replace:
        raise Conflict("The database is not empty: --replace deletes all that is in it.")


def _require_ours(connection: Connection) -> None:
    """Refuse tables of other programs, and those of a newer Milepost, which this version cannot drop."""
    if connection.scalar(text("SELECT to_regclass('alembic_version') IS NULL")):
        if others := sorted(catalogue.tables(connection)):
            raise Conflict(f"The database has tables that are not Milepost's: {', '.join(others[:5])}.")
        return
    for revision in connection.scalars(text("SELECT version_num FROM alembic_version")):
        try:
            schema.require_known(revision)
        except CommandError:
            raise Conflict("The database is another program's, or a newer Milepost's.") from None


def _require_free_place(backup: ArchiveReader, place: Path, wanted: Wanted) -> None:
    if archive.BROKER not in backup.manifest.members:
        raise Unusable("It has no state of a broker: leave --broker-state out.")
    if place.is_dir():
        raise IsADirectoryError(errno.EISDIR, "is a folder: name the file in it, mosquitto.db", str(place))
    if place.exists() and not wanted.replace:
        raise Conflict(f"{place} is there already: with the broker stopped, --replace overwrites it.")


def _load(session: Session, backup: ArchiveReader) -> None:
    """Load rows into empty tables, partitions included, and let the sequences continue."""
    connection = session.connection()
    partitions.make(session, backup.manifest.months)
    present = catalogue.tables(connection)
    with catalogue.without_foreign_keys(connection):
        for name, member in backup.manifest.members.items():
            table = name.removeprefix("tables/").removesuffix(".copy")
            if name != archive.member_of(table):
                continue
            if table not in present:
                raise Unusable(f"It has a table {table}, which is not Milepost's.")
            with backup.open(name) as rows, driver_cursor(connection) as cursor:
                cursor.copy_expert(f'COPY "{table}" ({catalogue.quoted(member.columns)}) FROM STDIN', rows)
    for sequence, value in backup.manifest.sequences.items():
        session.execute(text("SELECT setval(:name, :value)"), {"name": f'"{sequence}"', "value": value})


def _erase_again(session: Session, path: Path, restored: Restored, now: datetime) -> None:
    """Erase the customers who were erased after this backup, according to newer backups in its folder."""
    for slug, customer_id in sorted(_erased_since(path, restored.manifest)):
        name = f"{slug}/{customer_id}"
        try:
            with session.begin_nested():
                if session.get(Customer, customer_id) is not None:
                    erasure.erase(session, system_actors.system_actor(session, slug), customer_id, now)
                    restored.erased_again.append(name)
        except DomainError:
            restored.not_erased.append(name)


def _erased_since(path: Path, manifest: Manifest) -> set[tuple[str, int]]:
    """Return erasures of this installation's newer backups; another's ids belong to other customers."""
    known: set[tuple[str, int]] = set()
    for sibling in path.parent.glob("*.zip"):
        try:
            with archive.reading(sibling) as other:
                if other.manifest.made_at > manifest.made_at and _is_ours(other.manifest, manifest):
                    known.update(other.manifest.erased)
        except (Unusable, OSError):
            continue
    return known - set(manifest.erased)


def _is_ours(other: Manifest, manifest: Manifest) -> bool:
    """Return whether the backups share a key: one of the two may have been changed in between."""
    return not manifest.keys or bool(other.keys.items() & manifest.keys.items())


@contextmanager
def _broker_state(backup: ArchiveReader, wanted: Wanted) -> Iterator[None]:
    """Write the broker's state to a temporary file before the block, and rename it after the block.

    A full disk thus stops the whole restore. The file is the broker's own: owned by its folder's owner, and
    readable by that owner only.
    """
    place = wanted.broker_state
    if place is None:
        yield
        return
    _require_free_place(backup, place, wanted)
    unfinished = place.with_name(f".{place.name}.unfinished")
    handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with open(handle, "wb") as file, backup.open(archive.BROKER) as state:
            shutil.copyfileobj(state, file)
            file.flush()
            os.fsync(handle)
        if os.geteuid() == 0:
            owner = place.parent.stat()
            os.chown(unfinished, owner.st_uid, owner.st_gid)
        yield
        os.replace(unfinished, place)
    finally:
        unfinished.unlink(missing_ok=True)
