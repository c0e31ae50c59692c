"""The migrations and the models tell the same story."""

from typing import Any

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine

from core import jobs_models, notification_models, people_models, proof_models, report_models
from core.health import models as health_models
from core.models import Base
from core.schema import alembic_config

MODULES = (health_models, jobs_models, notification_models, people_models, proof_models, report_models)


def is_ours(_object: Any, name: str | None, kind: str, *_rest: Any) -> bool:
    return not (kind == "table" and name is not None and name.startswith("position"))


def test_migrated_database_has_the_tables_of_the_models(engine: Engine) -> None:
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"include_object": is_ours})
        assert compare_metadata(context, Base.metadata) == []


def test_the_way_down_leads_up_again(engine: Engine, database_url: str) -> None:
    command.downgrade(alembic_config(database_url), "0001")
    command.upgrade(alembic_config(database_url), "head")
    test_migrated_database_has_the_tables_of_the_models(engine)
