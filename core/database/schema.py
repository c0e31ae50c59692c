"""The database schema: Alembic migrations, row-level security, and the partitions of `position`."""

import time
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.orm import Session

from core.database import locks, partitions, row_security_policies
from core.database.engine import connect_arguments
from core.database.locks import Lock

LOCK_POLL_S = 0.2


def migrate(database_url: str) -> None:
    """Migrate the database to the newest revision, apply the RLS policies, and make missing partitions.

    Safe to run at any time. Raises `core.database.row_security_policies.RoleNeeded`.
    """
    arguments = connect_arguments("migrate")
    # No time-outs: a migration may wait for a lock or rewrite a table for longer than any request may.
    arguments["options"] = "-c timezone=UTC"
    engine = create_engine(database_url, connect_args=arguments)
    try:
        with engine.connect() as guard:
            _wait_for_lock(guard)
            command.upgrade(alembic_config(database_url), "head")
            with Session(engine) as session:
                row_security_policies.apply_policies(session.connection())
                partitions.ensure(session, datetime.now(UTC))
                session.commit()
            guard.execute(locks.RELEASE, {"lock": Lock.MIGRATIONS})
            guard.commit()
    finally:
        engine.dispose()


def _wait_for_lock(guard: Connection) -> None:
    """Take the migration lock, waiting until it is free."""
    # Poll, because a statement that waited for the lock would hold up CREATE INDEX CONCURRENTLY.
    while not guard.scalar(locks.TRY, {"lock": Lock.MIGRATIONS}):
        guard.rollback()
        time.sleep(LOCK_POLL_S)
    guard.commit()


def rebuild(connection: Connection, revision: str) -> None:
    """Delete all data and recreate the schema at ``revision``, in the transaction of ``connection``.

    Until that transaction commits, other sessions see none of it, and those that use one of the tables wait.
    """
    connection.execute(locks.WAIT_IN_TRANSACTION, {"lock": Lock.MIGRATIONS})
    if connection.scalar(text("SELECT to_regclass('company') IS NOT NULL")):
        # Empty tables leave the downgrade no rows to convert.
        connection.execute(text("TRUNCATE company, position CASCADE"))
    partitions.drop_left_over(connection)
    command.downgrade(alembic_config("", connection), "base")
    command.upgrade(alembic_config("", connection), revision)


def bring_up(session: Session, now: datetime) -> None:
    """Do the work of `migrate` in the session's transaction. Raises `row_security_policies.RoleNeeded`."""
    connection = session.connection()
    command.upgrade(alembic_config("", connection), "head")
    row_security_policies.apply_policies(connection)
    partitions.ensure(session, now)


def require_known(revision: str) -> None:
    """Check that this code has the revision. Raises Alembic's `CommandError`."""
    ScriptDirectory.from_config(alembic_config("")).get_revision(revision)


def alembic_config(database_url: str, connection: Connection | None = None) -> Config:
    """Return a configuration that uses ``connection`` and its transaction, or a new connection if None."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["database_url"] = database_url
    config.attributes["connection"] = connection
    return config


@cache
def newest_revision() -> str | None:
    """Return the newest revision that this code has."""
    return ScriptDirectory.from_config(alembic_config("")).get_current_head()


def present_revision(session: Session) -> str | None:
    """Return the database's revision. Raises `ProgrammingError` if it was never migrated."""
    revision: str | None = session.scalar(text("SELECT version_num FROM alembic_version"))
    return revision
