"""The migrations and the models tell the same story."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import count
from threading import Event
from typing import Any

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from core.database.schema import alembic_config, migrate
from core.models import account, job, notification, proof, report
from core.models import heartbeat as health_models
from core.models.base import Base
from core.models.notification import NotificationTemplate
from tests.support import factories
from tests.unit.core.notifications.test_times import OF_BEFORE

MODULES = (health_models, job, notification, account, proof, report)


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


def test_emails_that_could_not_be_written_are_due_again(session: Session, database_url: str) -> None:
    now = datetime.now(UTC)
    company = factories.company(session, time_zone="Mars/Olympus")
    failed = {"state": "failed", "attempts": 1, "finished_at": now}
    ours = {**failed, "error": "the e-mail cannot be written: ZoneInfoNotFoundError"}
    factories.notification(session, company, **ours)
    factories.notification(session, company, **ours, expires_at=now - timedelta(hours=1))
    factories.notification(session, company, **failed, error="550 unknown")
    factories.notification(session, company, **ours, recipient=None)
    session.commit()
    migrated_again(database_url)
    found = session.execute(text("SELECT state, finished_at IS NULL FROM notification ORDER BY id")).all()
    assert found == [("queued", True), ("failed", False), ("failed", False), ("failed", False)]


def test_our_words_for_a_window_are_replaced_in_tenants_templates(
    session: Session, database_url: str
) -> None:
    company = factories.company(session)
    for event, words in (("late", f"Dear customer,\n{OF_BEFORE}Bye"), ("status_changed", "Nothing of ours")):
        row = {"company_id": company.id, "event": event, "audience": "customer", "subject": "s"}
        session.add(NotificationTemplate(**row, text=words, updated_at=datetime.now(UTC)))
    session.commit()
    migrated_again(database_url)
    found = session.execute(text("SELECT text FROM notification_template ORDER BY event")).scalars().all()
    now = "{% if delivery.window %}Agreed: {{ delivery.window }}\n{% endif %}"
    assert found == [f"Dear customer,\n{now}Bye", "Nothing of ours"]


def migrated_again(database_url: str) -> None:
    """From a database of the version before."""
    command.downgrade(alembic_config(database_url), "0010")
    command.upgrade(alembic_config(database_url), "head")


def test_migration_to_words_blocks_no_writers_and_runs_alone(engine: Engine, database_url: str) -> None:
    """Two migrators at once, a writer beside them, and what a migrator that was killed left behind."""
    command.downgrade(alembic_config(database_url), "0014")
    insert = text(
        "WITH c AS (INSERT INTO company (slug, name) VALUES ('c-' || :n, 'C') RETURNING id),"
        " p AS (INSERT INTO customer (company_id, name) SELECT id, 'P' FROM c RETURNING id, company_id)"
        " INSERT INTO delivery (company_id, reference, customer_id, pickup_address, dropoff_address)"
        " SELECT company_id, 'R', id, 'A', 'B' FROM p"
    )
    with engine.begin() as connection:
        connection.execute(insert, {"n": 0})
        connection.execute(text("ALTER TABLE delivery ADD COLUMN search_words tsvector"))
        connection.execute(text("CREATE INDEX ix_delivery_search_words ON delivery (id)"))
    is_done = Event()

    def write() -> int:
        for number in count(1):
            with engine.begin() as connection:
                connection.execute(insert, {"n": number})
            if is_done.is_set():
                return number
        raise AssertionError("unreachable")

    with ThreadPoolExecutor(3) as pool:
        writer = pool.submit(write)
        migrators = [pool.submit(migrate, database_url) for _ in range(2)]
        for one in migrators:
            one.result(timeout=120)
        is_done.set()
        written = writer.result(timeout=60)
    test_migrated_database_has_the_tables_of_the_models(engine)
    with engine.connect() as connection:
        invalid = "SELECT count(*) FROM pg_index WHERE NOT indisvalid"
        assert connection.scalar(text(invalid)) == 0
        assert connection.scalar(text("SELECT count(*) FROM delivery")) == written + 1
        gin = "SELECT indexdef FROM pg_indexes WHERE indexname = 'ix_delivery_search_words'"
        assert "USING gin" in str(connection.scalar(text(gin)))
