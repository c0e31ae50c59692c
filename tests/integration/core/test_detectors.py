"""Late deliveries, near arrivals and silent devices: one event each, another for a new condition."""

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, event, text
from sqlalchemy.orm import Session, sessionmaker

from core.deliveries import commands
from core.deliveries.commands import DeliveryChanges
from core.detectors import late_deliveries, near_arrivals, silent_devices
from core.models.company import Company
from core.models.delivery import Delivery
from core.models.fleet import Device, Vehicle
from core.positions import intake
from core.positions.intake import Report
from core.rules.enums import Status
from core.rules.fix import Fix
from core.rules.lifecycle import FINAL
from jobs.schedule.run import JobRun
from jobs.tasks import detectors
from tests.support import factories

MINUTE = timedelta(minutes=1)
NEAR = {"position_latitude": factories.DROPOFF[0] + 0.02, "position_longitude": factories.DROPOFF[1]}
FAR = {"position_latitude": factories.DROPOFF[0] + 0.5, "position_longitude": factories.DROPOFF[1]}


class DetectorCompany:
    """A company with a manager and a customer, both with e-mails, and a van; ``now`` is the test's clock."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.now = datetime.now(UTC).replace(microsecond=0)
        self.company: Company = factories.company(session, device_silent_after_min=30)
        self.manager = factories.user(session, self.company)
        self.customer = factories.customer(session, self.company, email="clara@example.com")
        self.van: Vehicle = factories.vehicle(session, self.company)
        session.commit()

    def delivery(self, status: Status = Status.IN_TRANSIT, **values: Any) -> Delivery:
        defaults: dict[str, Any] = {"customer_id": self.customer.id, "vehicle_id": self.van.id}
        if status is not Status.PENDING:
            defaults |= {"started_at": self.now - 60 * MINUTE}
        row = factories.delivery(self.session, self.company, status, **defaults | values)
        self.session.commit()
        return row

    def late(self, status: Status = Status.IN_TRANSIT, minutes: int = 5, **values: Any) -> Delivery:
        """Whose window ended so many minutes ago."""
        return self.delivery(status, window_end=self.now - minutes * MINUTE, **values)

    def see_van(self, where: dict[str, float], minutes_ago: int = 0) -> None:
        values = {"position_time": self.now - minutes_ago * MINUTE, "smoothed_speed_kmh": 40.0, **where}
        for name, value in values.items():
            setattr(self.van, name, value)
        self.session.commit()

    def device(self, **values: Any) -> Device:
        defaults: dict[str, Any] = {"created_at": self.now - 500 * MINUTE}
        if "driver_id" not in values:
            defaults["vehicle_id"] = self.van.id
        row = factories.device(self.session, self.company, **defaults | values)
        self.session.commit()
        return row

    def speak(self, device: Device, at: datetime) -> None:
        fix = Fix(fix_time=at, latitude=52.0, longitude=5.0)
        report = Report(device_id=device.id, topic="up/0/x/location", raw=b"raw", items=[fix])
        intake.take(self.session, [report], at)
        self.session.commit()

    def record_late(self, minutes_on: int = 0) -> int:
        now = self.now + minutes_on * MINUTE
        return self._committed(
            late_deliveries.record_events(
                self.session, late_deliveries.find_without_event(self.session, now), now
            )
        )

    def record_soon(self, minutes_on: int = 0) -> int:
        now = self.now + minutes_on * MINUTE
        return self._committed(
            near_arrivals.record_events(
                self.session, near_arrivals.find_without_event(self.session, now), now
            )
        )

    def record_silent(self, minutes_on: int = 0) -> int:
        now = self.now + minutes_on * MINUTE
        return self._committed(
            silent_devices.record_events(
                self.session, silent_devices.find_without_event(self.session, now), now
            )
        )

    def _committed(self, recorded: int) -> int:
        self.session.commit()
        self.session.expire_all()
        return recorded

    def notifications(self) -> list[tuple[str, str, dict[str, Any]]]:
        """Event, audience, payload."""
        rows = self.session.execute(text("SELECT event, audience, payload FROM notification ORDER BY id"))
        return [(row[0], row[1], row[2]) for row in rows]

    def alerts(self) -> list[dict[str, Any]]:
        rows = self.session.scalars(text("SELECT payload FROM outbox WHERE kind = 'alert' ORDER BY id"))
        return list(rows)


@pytest.fixture
def fleet(session: Session) -> DetectorCompany:
    return DetectorCompany(session)


def test_a_delivery_after_its_window_is_late_once(fleet: DetectorCompany) -> None:
    ours = fleet.late()
    assert [fleet.record_late(), fleet.record_late(), fleet.record_late(30)] == [1, 0, 0]
    ((name, audience, payload),) = fleet.notifications()
    assert (name, audience, payload["late_minutes"]) == ("late", "manager", 5)
    assert payload["delivery"]["id"] == ours.id
    (alert,) = fleet.alerts()
    assert (alert["kind"], alert["vehicle"], alert["delivery"]) == ("late", fleet.van.id, ours.id)
    assert alert["detail"] == f"delivery {ours.id} is 5 min late"


def test_every_open_delivery_may_be_late_but_none_that_has_ended(fleet: DetectorCompany) -> None:
    made = [fleet.late(status) for status in Status]
    assert fleet.record_late() == 3
    recorded = {payload["delivery"]["id"] for _event, _audience, payload in fleet.notifications()}
    assert recorded == {ours.id for ours in made if ours.status not in FINAL}


def test_the_companys_grace_counts(fleet: DetectorCompany) -> None:
    fleet.company.late_after_min = 10
    fleet.late()
    assert [fleet.record_late(), fleet.record_late(4), fleet.record_late(5)] == [0, 0, 1]


def test_what_was_late_long_ago_is_no_news(fleet: DetectorCompany) -> None:
    fleet.late(minutes=24 * 60)
    fleet.late(minutes=24 * 60 - 1)
    assert fleet.record_late() == 1


def test_without_a_vehicle_there_is_no_alert(fleet: DetectorCompany) -> None:
    fleet.late(Status.PENDING, vehicle_id=None)
    assert fleet.record_late() == 1
    assert fleet.alerts() == []


def test_a_window_that_was_moved_may_be_missed_again(fleet: DetectorCompany) -> None:
    ours = fleet.late()
    assert fleet.record_late() == 1
    actor = factories.actor(fleet.company, fleet.manager)
    later = fleet.now + 30 * MINUTE
    commands.edit(fleet.session, actor, ours.id, DeliveryChanges(window_end=later), fleet.now)
    assert [fleet.record_late(29), fleet.record_late(30), fleet.record_late(31)] == [0, 1, 0]
    assert len(fleet.notifications()) == 2


def test_a_late_event_is_no_change_of_the_delivery(fleet: DetectorCompany) -> None:
    ours = fleet.late()
    before = ours.version
    assert fleet.record_late() == 1
    assert fleet.session.get_one(Delivery, ours.id).version == before


def test_a_late_delivery_says_when_it_is_expected(fleet: DetectorCompany) -> None:
    fleet.see_van(FAR)
    fleet.late()
    fleet.late(Status.PICKUP_IN_PROGRESS)  # its van heads for the pickup
    assert fleet.record_late() == 2
    in_transit, picking_up = (payload["eta"] for _event, _audience, payload in fleet.notifications())
    assert datetime.fromisoformat(in_transit) > fleet.now + 60 * MINUTE
    assert picking_up is None
    fleet.see_van(FAR, minutes_ago=6)
    fleet.late()
    assert fleet.record_late() == 1
    assert fleet.notifications()[-1][2]["eta"] is None


def test_a_near_arrival_has_one_event(fleet: DetectorCompany) -> None:
    ours = fleet.delivery()
    fleet.see_van(FAR)
    assert fleet.record_soon() == 0
    fleet.see_van(NEAR)
    assert [fleet.record_soon(), fleet.record_soon()] == [1, 0]
    ((name, audience, payload),) = fleet.notifications()
    assert (name, audience, payload["delivery"]["id"]) == ("arriving_soon", "customer", ours.id)
    assert 0 < payload["minutes"] <= 15
    assert fleet.now < datetime.fromisoformat(payload["eta"]) <= fleet.now + 15 * MINUTE


def test_an_old_position_is_no_arrival(fleet: DetectorCompany) -> None:
    fleet.delivery()
    fleet.see_van(NEAR, minutes_ago=6)
    assert fleet.record_soon() == 0
    fleet.see_van(NEAR, minutes_ago=5)
    assert fleet.record_soon() == 1


def test_only_what_is_in_transit_and_was_since_the_position_arrives(fleet: DetectorCompany) -> None:
    fleet.see_van(NEAR, minutes_ago=1)
    fleet.delivery(Status.PICKUP_IN_PROGRESS)
    fleet.delivery(dropoff_latitude=None)
    fleet.delivery(started_at=fleet.now)
    fleet.delivery(vehicle_since=fleet.now)
    fleet.delivery(Status.DELIVERED)
    assert fleet.record_soon() == 0


def test_a_threshold_of_0_queues_nothing(fleet: DetectorCompany) -> None:
    fleet.company.arriving_soon_min = 0
    fleet.delivery()
    fleet.see_van(NEAR)
    assert fleet.record_soon() == 0


def test_another_van_has_an_event_of_its_own(fleet: DetectorCompany) -> None:
    ours = fleet.delivery()
    fleet.see_van(NEAR)
    assert fleet.record_soon() == 1
    fleet.van = factories.vehicle(fleet.session, fleet.company)
    actor = factories.actor(fleet.company, fleet.manager)
    commands.edit(fleet.session, actor, ours.id, DeliveryChanges(vehicle_id=fleet.van.id), fleet.now + MINUTE)
    fleet.now += 2 * MINUTE
    fleet.see_van(NEAR)
    assert [fleet.record_soon(), fleet.record_soon()] == [1, 0]
    assert len(fleet.notifications()) == 2


def test_each_silence_has_one_event(fleet: DetectorCompany) -> None:
    fleet.delivery()
    unit = fleet.device(label="Tracker 7")
    fleet.speak(unit, fleet.now)
    assert [fleet.record_silent(30), fleet.record_silent(31), fleet.record_silent(200)] == [0, 1, 0]
    ((name, audience, payload),) = fleet.notifications()
    assert (name, audience, payload["silent_minutes"]) == ("device_silent", "manager", 31)
    assert payload["device"] == {"id": unit.id, "name": "Tracker 7"}
    assert payload["vehicle"] == {"id": fleet.van.id, "name": fleet.van.name}
    assert datetime.fromisoformat(payload["last_seen_at"]) == fleet.now
    (alert,) = fleet.alerts()
    assert (alert["kind"], alert["vehicle"], alert["device"]) == ("device_silent", fleet.van.id, unit.id)
    fleet.speak(unit, fleet.now + 300 * MINUTE)
    assert [fleet.record_silent(330), fleet.record_silent(331), fleet.record_silent(400)] == [0, 1, 0]
    assert len(fleet.notifications()) == 2


def test_one_that_never_spoke_is_silent_since_it_was_expected(fleet: DetectorCompany) -> None:
    fleet.delivery()  # started an hour ago
    fleet.device()
    assert [fleet.record_silent(-30), fleet.record_silent(-29), fleet.record_silent(900)] == [0, 1, 0]
    ((_event, _audience, payload),) = fleet.notifications()
    assert payload["last_seen_at"] is None


def test_a_new_device_has_time_to_speak(fleet: DetectorCompany) -> None:
    fleet.delivery()
    fleet.device(created_at=fleet.now)
    assert [fleet.record_silent(30), fleet.record_silent(31)] == [0, 1]


def test_a_parked_van_may_be_silent(fleet: DetectorCompany) -> None:
    unit = fleet.device()
    fleet.speak(unit, fleet.now - 400 * MINUTE)
    fleet.delivery(Status.PENDING)
    fleet.delivery(Status.DELIVERED)
    assert fleet.record_silent() == 0
    fleet.delivery(started_at=fleet.now - 20 * MINUTE)
    assert [fleet.record_silent(10), fleet.record_silent(11)] == [0, 1]


def test_a_phone_is_expected_for_the_delivery_its_driver_started_last(fleet: DetectorCompany) -> None:
    driver = factories.driver(fleet.session, fleet.company)
    other = factories.vehicle(fleet.session, fleet.company)
    fleet.delivery(driver_id=driver.id)
    fleet.delivery(driver_id=driver.id, vehicle_id=other.id, started_at=fleet.now - 50 * MINUTE)
    fleet.device(driver_id=driver.id)
    assert fleet.record_silent() == 1
    (alert,) = fleet.alerts()
    assert alert["vehicle"] == other.id


def test_who_was_assigned_just_now_has_time_to_speak(fleet: DetectorCompany) -> None:
    driver = factories.driver(fleet.session, fleet.company)
    fleet.device(driver_id=driver.id, last_heard_at=fleet.now - 800 * MINUTE)
    ours = fleet.delivery()
    actor = factories.actor(fleet.company, fleet.manager)
    commands.edit(fleet.session, actor, ours.id, DeliveryChanges(driver_id=driver.id), fleet.now)
    assert [fleet.record_silent(30), fleet.record_silent(31)] == [0, 1]


def test_a_disabled_device_is_not_expected(fleet: DetectorCompany) -> None:
    fleet.delivery()
    fleet.device(disabled_at=fleet.now - MINUTE)
    assert fleet.record_silent() == 0


def test_anything_that_comes_is_a_word_noted_to_the_minute(fleet: DetectorCompany) -> None:
    unit = fleet.device()
    fleet.speak(unit, fleet.now)
    fleet.speak(unit, fleet.now + timedelta(seconds=59))
    fleet.session.refresh(unit)
    assert unit.last_heard_at == fleet.now
    fleet.speak(unit, fleet.now + MINUTE)
    fleet.session.refresh(unit)
    assert unit.last_heard_at == fleet.now + MINUTE


def test_ingest_does_not_wait_for_who_edits_a_device(
    fleet: DetectorCompany, sessions: sessionmaker[Session]
) -> None:
    unit = fleet.device()
    with sessions() as editor:
        editor.get_one(Device, unit.id, with_for_update=True)
        fleet.session.execute(text("SET lock_timeout = '50ms'"))
        fleet.speak(unit, fleet.now)
        editor.rollback()
    fleet.session.refresh(unit)
    assert unit.last_heard_at is None
    fleet.speak(unit, fleet.now + timedelta(seconds=1))
    fleet.session.refresh(unit)
    assert unit.last_heard_at == fleet.now + timedelta(seconds=1)


def test_no_event_for_what_changed_before_it_is_recorded(fleet: DetectorCompany) -> None:
    ours, unit = fleet.late(), fleet.device()
    fleet.see_van(NEAR)
    session, now = fleet.session, fleet.now
    found = (
        late_deliveries.find_without_event(session, now),
        near_arrivals.find_without_event(session, now),
        silent_devices.find_without_event(session, now),
    )
    assert [len(each) for each in found] == [1, 1, 1]
    ours.window_end = now + MINUTE
    fleet.see_van(FAR)
    fleet.speak(unit, now)
    late, arriving, silent = found
    assert late_deliveries.record_events(session, late, now) == 0
    assert near_arrivals.record_events(session, arriving, now) == 0
    assert silent_devices.record_events(session, silent, now) == 0
    assert fleet.notifications() == []


def test_two_leaders_record_each_event_once(fleet: DetectorCompany, sessions: sessionmaker[Session]) -> None:
    fleet.see_van(NEAR)
    for _ in range(30):
        fleet.late()
    fleet.device()
    both = threading.Barrier(2)
    errors: list[BaseException] = []

    def lead() -> None:
        run = JobRun("tested", sessions, threading.Event())
        for body in (detectors.late, detectors.arriving_soon, detectors.silent):
            both.wait(10)
            try:
                body(run)
            except Exception as error:
                errors.append(error)

    leaders = [threading.Thread(target=lead) for _ in range(2)]
    for leader in leaders:
        leader.start()
    for leader in leaders:
        leader.join(30)
    assert errors == []
    recorded = [name for name, _audience, _payload in fleet.notifications()]
    assert {name: recorded.count(name) for name in recorded} == {
        "late": 30,
        "arriving_soon": 30,
        "device_silent": 1,
    }
    assert len(fleet.alerts()) == 31


def test_detectors_scan_only_rows_without_event(
    fleet: DetectorCompany, session: Session, engine: Engine
) -> None:
    """Among thousands that have ended or had their event, the plan is a scan of the small index."""
    ours = fleet.late()
    session.execute(
        text(
            "INSERT INTO delivery (company_id, reference, status, customer_id, vehicle_id, pickup_address,"
            " dropoff_address, dropoff_latitude, dropoff_longitude, started_at, window_end, late_told_for,"
            " arriving_soon_told_at)"
            " SELECT company_id, 'R-' || i, CASE WHEN i % 2 = 0 THEN 'delivered' ELSE 'in_transit' END,"
            " customer_id, vehicle_id, 'A', 'B', 52, 13, now(), window_end,"
            " CASE WHEN i % 2 = 1 THEN window_end END, now()"
            " FROM delivery, generate_series(1, 10000) i WHERE id = :id"
        ),
        {"id": ours.id},
    )
    session.commit()
    session.execute(text("ANALYZE delivery"))
    session.commit()
    assert "ix_delivery_late_untold" in _plans(session, engine, late_deliveries.find_without_event, fleet.now)
    assert "ix_delivery_arrival_untold" in _plans(
        session, engine, near_arrivals.find_without_event, fleet.now
    )


def _plans(
    session: Session, engine: Engine, look: Callable[[Session, datetime], object], now: datetime
) -> str:
    """Of the statements that it sends."""
    seen: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, values: Any, *_rest: Any) -> None:
        seen.append((statement, values))

    event.listen(engine, "before_cursor_execute", note)
    look(session, now)
    event.remove(engine, "before_cursor_execute", note)
    plans = [
        session.connection().exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", values).scalar_one()
        for statement, values in seen
    ]
    session.rollback()
    return json.dumps(plans)
