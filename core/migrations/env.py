"""Alembic's entry: `core.schema` hands it the database's URL; there is no ini file."""

from typing import Any

from alembic import context
from sqlalchemy import create_engine, pool

from core import proof_models  # noqa: F401  # for its tables
from core.people_models import LoginSession


def is_ours(_object: Any, name: str | None, kind: str, *_rest: Any) -> bool:
    """`position` and its months are plain SQL, not models."""
    return not (kind == "table" and name is not None and name.startswith("position"))


def run() -> None:
    engine = create_engine(context.config.attributes["database_url"], poolclass=pool.NullPool)
    with engine.connect() as connection:
        tables = LoginSession.metadata  # of all modules
        context.configure(connection=connection, target_metadata=tables, include_object=is_ours)
        with context.begin_transaction():
            context.run_migrations()


run()
