"""Archiving against whoever uses the row at the same moment."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker

from core.access.actors import Actor
from core.accounts import access
from core.deliveries import commands
from core.deliveries.commands import DeliveryChanges
from core.errors import Conflict, InvalidValue
from core.fleet import vehicles
from core.models.company import Company
from tests.support import factories
from tests.support.waiting import wait_until

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def company(session: Session) -> Company:
    return factories.company(session)


WAITING = text(
    "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
)


def is_a_lock_awaited(sessions: sessionmaker[Session]) -> bool:
    """In a transaction of its own each time: within one, the view stands still."""
    with sessions() as session:
        return bool(session.scalar(WAITING))


def test_vehicle_being_archived_is_not_given_to_a_delivery(
    session: Session, sessions: sessionmaker[Session], company: Company
) -> None:
    actor = factories.actor(company, factories.user(session, company))
    vehicle, delivery = factories.vehicle(session, company), factories.delivery(session, company)
    session.commit()

    def assign() -> None:
        with sessions() as other:
            commands.edit(other, actor, delivery.id, DeliveryChanges(vehicle_id=vehicle.id), NOW)
            other.commit()

    vehicles.archive(session, actor, vehicle.id, NOW)
    with ThreadPoolExecutor(1) as thread:
        assigned = thread.submit(assign)
        wait_until(lambda: is_a_lock_awaited(sessions), what="the assignment to wait")
        session.commit()
        with pytest.raises(InvalidValue):
            assigned.result(10)


def test_vehicle_being_given_to_a_delivery_is_not_archived(
    session: Session, sessions: sessionmaker[Session], company: Company
) -> None:
    actor = factories.actor(company, factories.user(session, company))
    vehicle, delivery = factories.vehicle(session, company), factories.delivery(session, company)
    session.commit()

    def archive() -> None:
        with sessions() as other:
            vehicles.archive(other, actor, vehicle.id, NOW)
            other.commit()

    commands.edit(session, actor, delivery.id, DeliveryChanges(vehicle_id=vehicle.id), NOW)
    with ThreadPoolExecutor(1) as thread:
        archived = thread.submit(archive)
        wait_until(lambda: is_a_lock_awaited(sessions), what="the archiving to wait")
        session.commit()
        with pytest.raises(Conflict):
            archived.result(10)


def test_two_managers_cannot_disable_each_other_at_once(
    session: Session, sessions: sessionmaker[Session], company: Company
) -> None:
    managers = [factories.user(session, company), factories.user(session, company)]
    actors: list[Actor] = [factories.actor(company, manager) for manager in managers]
    session.commit()

    def disable(who: int) -> bool:
        with sessions() as other:
            try:
                access.disable(other, actors[who], managers[1 - who].id, NOW)
            except Conflict:
                return False
            other.commit()
            return True

    with ThreadPoolExecutor(2) as threads:
        assert sorted(threads.map(disable, range(2))) == [False, True]
