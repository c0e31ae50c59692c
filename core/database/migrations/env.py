"""Alembic's entry: `core.database.schema` hands it the database's URL; there is no ini file."""

from typing import Any

from alembic import context
from sqlalchemy import Connection, create_engine, pool

from core.models.base import Base


def is_ours(_object: Any, name: str | None, kind: str, *_rest: Any) -> bool:
    """`position` and its months are plain SQL, not models."""
    return not (kind == "table" and name is not None and name.startswith("position"))


def run() -> None:
    """Run the migrations in the transaction of the caller's connection, else on a connection of our own."""
    attributes = context.config.attributes
    if (given := attributes.get("connection")) is not None:
        run_on(given)
        return
    engine = create_engine(attributes["database_url"], poolclass=pool.NullPool)
    with engine.connect() as connection:
        run_on(connection)


def run_on(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=Base.metadata, include_object=is_ours)
    with context.begin_transaction():
        context.run_migrations()


run()
