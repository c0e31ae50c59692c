"""The stored JSON of every event, which e-mails and webhooks are made of, written out."""

from datetime import UTC, datetime
from pathlib import Path
from string import Template

from sqlalchemy import text
from sqlalchemy.orm import Session

from core.notifications.events import EVENTS
from core.notifications.kinds import Event
from tests.support.notifications.every_notification import EveryNotification, queue_all

NOW = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
EXPECTED = Path(__file__).with_name("stored_notifications.txt")


def test_every_event_is_stored_as_written_out(session: Session) -> None:
    there = queue_all(session, "https://hooks.example.com/hook", NOW)
    stored = session.execute(text("SELECT event, audience, payload::text FROM notification ORDER BY id"))
    found = [" ".join(row) for row in stored]
    expected = Template(EXPECTED.read_text("utf-8")).substitute(_ids(there)).splitlines()
    assert found == expected
    assert {row.split()[0] for row in found} == {event.value for event in Event}


def test_each_kind_of_event_has_one_struct() -> None:
    assert sorted(event.kind for event in EVENTS) == sorted(Event)


def _ids(there: EveryNotification) -> dict[str, int | None]:
    return {
        "awaited": there.awaited.id,
        "awaited_driver": there.awaited.driver_id,
        "ended": there.ended.id,
        "ended_driver": there.ended.driver_id,
        "ended_vehicle": there.ended.vehicle_id,
        "vehicle": there.vehicle.id,
        "customer": there.customer.id,
        "broken": there.broken.id,
    }
