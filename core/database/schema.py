"""The database's structure: Alembic's migrations, the fences between companies, the months of `position`."""

import time
from datetime import UTC, datetime
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.orm import Session

from core.database import partitions, row_security_policies
from core.database.engine import connect_arguments

_LOCK = 0x6D6D6967  # "mmig": two migrators at once take turns
TURN_POLL_S = 0.2


def migrate(database_url: str) -> None:
    """Bring the database to the newest revision, fence every table, make the months around now.

    Safe to run at any time. Raises `core.database.row_security_policies.RoleNeeded`.
    """
    arguments = connect_arguments("migrate")
    # A migration may wait for a lock or rewrite a table for longer than any request may.
    arguments["options"] = "-c timezone=UTC"
    engine = create_engine(database_url, connect_args=arguments)
    try:
        with engine.connect() as guard:
            _wait_for_turn(guard)
            command.upgrade(alembic_config(database_url), "head")
            with Session(engine) as session:
                row_security_policies.raise_fences(session.connection())
                partitions.ensure(session, datetime.now(UTC))
                session.commit()
            guard.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _LOCK})
            guard.commit()
    finally:
        engine.dispose()


def _wait_for_turn(guard: Connection) -> None:
    """Ask again and again: whoever waited inside a statement would hold up CREATE INDEX CONCURRENTLY."""
    while not guard.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": _LOCK}):
        guard.rollback()
        time.sleep(TURN_POLL_S)
    guard.commit()


def rebuild(connection: Connection, revision: str) -> None:
    """Empty the database and give it the structure of ``revision``: all that was in it is gone.

    In the transaction of ``connection``, as `bring_up` works: until that commits nobody sees any of it, and
    whoever wants one of the tables waits.
    """
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    if connection.scalar(text("SELECT to_regclass('company') IS NOT NULL")):
        # So that the way down has no rows to convert.
        connection.execute(text("TRUNCATE company, position CASCADE"))
    partitions.drop_left_over(connection)
    command.downgrade(alembic_config("", connection), "base")
    command.upgrade(alembic_config("", connection), revision)


def bring_up(session: Session, now: datetime) -> None:
    """What `migrate` does, in the session's own transaction. Raises `row_security_policies.RoleNeeded`."""
    connection = session.connection()
    command.upgrade(alembic_config("", connection), "head")
    row_security_policies.raise_fences(connection)
    partitions.ensure(session, now)


def require_known(revision: str) -> None:
    """Raises Alembic's `CommandError` for a revision that this code does not have."""
    ScriptDirectory.from_config(alembic_config("")).get_revision(revision)


def alembic_config(database_url: str, connection: Connection | None = None) -> Config:
    """For work on ``connection``, inside its transaction; without one, on one of Alembic's own."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["database_url"] = database_url
    config.attributes["connection"] = connection
    return config


def newest_revision() -> str | None:
    """The revision this code was written for."""
    return ScriptDirectory.from_config(alembic_config("")).get_current_head()


def present_revision(session: Session) -> str | None:
    """The revision the database is at. Raises `ProgrammingError` when it was never migrated."""
    revision: str | None = session.scalar(text("SELECT version_num FROM alembic_version"))
    return revision
