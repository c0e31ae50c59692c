"""Fixes into PostgreSQL: what is stored, what is newest, what becomes a checkpoint."""

import random
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session, sessionmaker

from core.models.company import Company
from core.models.fleet import Device, Vehicle
from core.positions import intake, store
from core.positions import newest as position_newest
from core.positions.intake import DeviceAnswer, Report
from core.rules.enums import Status
from core.rules.fix import Fix, Rejection, VehicleFix
from tests.support import factories

NOW = datetime.now(UTC).replace(microsecond=0)


def fix(seconds: float, latitude: float = 52.0, **values: Any) -> Fix:
    """A fix this many seconds before now, going back from ten minutes ago."""
    at = NOW - timedelta(minutes=20) + timedelta(seconds=seconds)
    defaults: dict[str, Any] = {"fix_time": at, "latitude": latitude, "longitude": 5.0, "speed_kmh": 36.0}
    return Fix(**defaults | values)


class Van:
    """A company with one van and its GPS unit."""

    def __init__(self, session: Session, **company: Any) -> None:
        self.session = session
        self.company: Company = factories.company(session, **company)
        self.vehicle: Vehicle = factories.vehicle(session, self.company)
        self.device: Device = factories.device(session, self.company, vehicle_id=self.vehicle.id)
        session.commit()

    def take(self, *items: Fix | Rejection, device: str | None = None) -> list[DeviceAnswer]:
        report = Report(
            device_id=device or self.device.id, topic="up/0/x/location", raw=b"raw", items=list(items)
        )
        taken = intake.take(self.session, [report], NOW)
        self.facts = taken.facts
        self.session.commit()
        return taken.answers[0]

    def delivery(self, status: Status = Status.IN_TRANSIT, **values: Any) -> int:
        started = {"started_at": NOW - timedelta(hours=1)}
        row = factories.delivery(
            self.session, self.company, status, vehicle_id=self.vehicle.id, **started | values
        )
        self.session.commit()
        return row.id

    def rows(self) -> list[tuple[Any, ...]]:
        query = text("SELECT * FROM position WHERE vehicle_id = :id ORDER BY fix_time")
        return [tuple(row) for row in self.session.execute(query, {"id": self.vehicle.id})]

    def newest(self) -> datetime | None:
        query = text("SELECT position_time FROM vehicle WHERE id = :id")
        return self.session.execute(query, {"id": self.vehicle.id}).scalar_one()  # type: ignore[no-any-return]

    def checkpoints(self, delivery_id: int) -> list[tuple[Any, ...]]:
        query = text(
            "SELECT occurred_at, latitude, longitude FROM delivery_checkpoint"
            " WHERE delivery_id = :id AND kind = 'location' ORDER BY id"
        )
        return [tuple(row) for row in self.session.execute(query, {"id": delivery_id})]


@pytest.fixture
def van(session: Session) -> Van:
    return Van(session)


def test_a_fix_is_stored_with_all_its_telemetry(van: Van) -> None:
    everything = fix(
        0,
        altitude_m=12.5,
        course_deg=181.0,
        accuracy_m=4.5,
        battery_percent=88.0,
        ignition=True,
        odometer_m=123456.0,
        attributes={"tab\t": 'quote" back\\slash\n', "n": [1, {"ü": None}]},
    )
    assert van.take(everything) == [intake.STORED]
    [row] = van.rows()
    assert row == (
        van.vehicle.id,
        everything.fix_time,
        52.0,
        5.0,
        NOW,
        12.5,
        36.0,
        181.0,
        4.5,
        88.0,
        True,
        123456.0,
        False,
        van.device.id,
        everything.attributes,
    )


def test_the_same_fix_ten_times_is_one_row(van: Van) -> None:
    assert van.take(*[fix(0)] * 5) == [intake.STORED] + [intake.DUPLICATE] * 4
    for _ in range(5):
        assert van.take(fix(0)) == [intake.DUPLICATE]
        assert [fact.vehicle for fact in van.facts] == [van.vehicle.id]  # repairs a fact that a kill cut off
    assert len(van.rows()) == 1


def test_two_places_in_one_second_are_two_rows(van: Van) -> None:
    assert van.take(fix(0), fix(0, 52.1)) == [intake.STORED, intake.STORED]
    assert len(van.rows()) == 2


def test_random_order_keeps_all_and_the_newest_is_the_latest(van: Van) -> None:
    fixes = [fix(second) for second in range(100)]
    random.Random(1).shuffle(fixes)
    for single in fixes:
        van.take(single)
    assert len(van.rows()) == 100
    assert van.newest() == fix(99).fix_time


def test_an_older_fix_never_moves_the_newest_position_back(van: Van) -> None:
    van.take(fix(100))
    assert van.take(fix(50)) == [intake.STORED]
    assert van.facts == []
    assert van.newest() == fix(100).fix_time
    van.take(fix(40), fix(120), fix(60))
    assert van.newest() == fix(120).fix_time


def test_zero_zero_is_kept_as_suspect_and_never_the_newest(van: Van) -> None:
    delivery_id = van.delivery()
    van.take(fix(0))
    assert van.take(fix(500, 0.0, longitude=0.0)) == [intake.STORED]
    assert [row[12] for row in van.rows()] == [False, True]
    assert van.newest() == fix(0).fix_time
    assert len(van.checkpoints(delivery_id)) == 1


def test_an_array_of_500_gives_the_checkpoints_of_single_fixes(session: Session) -> None:
    rng = random.Random(7)
    fixes = [fix(second, 52.0 + rng.random() / 100) for second in range(0, 1000, 2)]
    whole, single = Van(session), Van(session)
    whole_delivery, single_delivery = whole.delivery(), single.delivery()
    shuffled = fixes[:]
    rng.shuffle(shuffled)
    whole.take(*shuffled)
    for one in fixes:
        single.take(one)
    checkpoints = whole.checkpoints(whole_delivery)
    assert checkpoints == single.checkpoints(single_delivery)
    assert 20 < len(checkpoints) < 500


def test_only_active_deliveries_get_checkpoints_and_are_in_the_fact(van: Van) -> None:
    under_way = [van.delivery(Status.PICKUP_IN_PROGRESS), van.delivery(Status.IN_TRANSIT)]
    others = [van.delivery(Status.PENDING), van.delivery(Status.DELIVERED, ended_at=NOW)]
    van.take(fix(0))
    assert [len(van.checkpoints(delivery)) for delivery in under_way + others] == [1, 1, 0, 0]
    assert [fact.deliveries for fact in van.facts] == [tuple(under_way)]


def test_a_fix_before_the_start_is_no_checkpoint_and_is_not_shown(van: Van) -> None:
    delivery_id = van.delivery(started_at=fix(100).fix_time)
    van.take(fix(99))
    assert [fact.deliveries for fact in van.facts] == [()]
    assert van.checkpoints(delivery_id) == []
    van.take(fix(100))
    assert len(van.checkpoints(delivery_id)) == 1
    assert len(van.rows()) == 2


def test_where_a_van_was_before_it_was_assigned_is_not_shown(van: Van) -> None:
    delivery_id = van.delivery(vehicle_since=fix(100).fix_time)
    van.take(fix(99))
    assert [fact.deliveries for fact in van.facts] == [()]
    assert van.checkpoints(delivery_id) == []
    van.take(fix(100))
    assert [fact.deliveries for fact in van.facts] == [(delivery_id,)]


def test_the_companys_own_policy_counts(session: Session) -> None:
    van = Van(session, checkpoint_distance_m=0)
    delivery_id = van.delivery()
    van.take(*[fix(second) for second in range(7)])
    assert len(van.checkpoints(delivery_id)) == 7


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"disabled_at": NOW}, "device_disabled"),
        ({"vehicle_id": None}, "no_vehicle"),
    ],
)
def test_a_device_that_cannot_count_is_quarantined(van: Van, values: dict[str, Any], reason: str) -> None:
    for name, value in values.items():
        setattr(van.device, name, value)
    van.session.commit()
    [answer] = van.take(fix(0))
    assert (answer.result, answer.reason) == ("rejected", reason)
    assert quarantine_of(van.session) == [(van.company.id, van.device.id, b"raw", reason)]
    assert van.rows() == []
    assert {answer.reason for answer in van.take(fix(1), fix(2))} == {reason}
    assert len(quarantine_of(van.session)) == 2  # a message a row, not an item


def test_a_vehicle_archived_after_the_lookup_is_not_shown(van: Van) -> None:
    van.vehicle.archived_at = NOW
    van.session.commit()
    stored = store.store(van.session, [VehicleFix(van.vehicle.id, fix(0), van.device.id)], NOW)
    assert stored.facts == []


def test_an_unknown_device_is_quarantined_under_no_company(van: Van) -> None:
    [answer] = van.take(fix(0), device="zzzzzzzzzz")
    assert answer.reason == "unknown_device"
    assert quarantine_of(van.session) == [(None, "zzzzzzzzzz", b"raw", "unknown_device")]


def test_an_archived_vehicle_takes_nothing(van: Van) -> None:
    van.vehicle.archived_at = NOW
    van.session.commit()
    assert [answer.reason for answer in van.take(fix(0))] == ["archived"]


def test_another_companys_name_in_the_payload_is_spoofed(van: Van) -> None:
    [wrong, right] = van.take(
        fix(0, attributes={"company": "other"}), fix(1, attributes={"company": van.company.slug})
    )
    assert (wrong.reason, right.reason) == ("spoofed", None)


def test_a_rejected_item_leaves_its_mates_alone(van: Van) -> None:
    bad = Rejection(reason="bad_time", detail="x", raw=b"item")
    answers = van.take(fix(0), bad, fix(1))
    assert [answer.result for answer in answers] == ["stored", "rejected", "stored"]
    assert quarantine_of(van.session) == [(van.company.id, van.device.id, b"item", "bad_time")]


def test_a_drivers_phone_counts_for_the_delivery_started_last(session: Session) -> None:
    van = Van(session)
    driver = factories.driver(session, van.company)
    phone = factories.device(session, van.company, driver_id=driver.id)
    session.commit()
    assert [answer.reason for answer in van.take(fix(0), device=phone.id)] == ["no_vehicle"]
    other = factories.vehicle(session, van.company)
    earlier = {"driver_id": driver.id, "started_at": NOW - timedelta(hours=3)}
    factories.delivery(session, van.company, Status.IN_TRANSIT, vehicle_id=other.id, **earlier)
    van.delivery(driver_id=driver.id)
    assert van.take(fix(1), device=phone.id) == [intake.STORED]
    assert [row[13] for row in van.rows()] == [phone.id]


def test_two_writers_of_the_same_vehicles_do_not_deadlock(sessions: sessionmaker[Session]) -> None:
    with sessions() as session:
        vans = [Van(session) for _ in range(20)]
        for van in vans:
            van.delivery()
        devices = [van.device.id for van in vans]
    failures: list[BaseException] = []

    def write(seed: int) -> None:
        rng = random.Random(seed)
        try:
            for second in range(30):
                rng.shuffle(devices)
                reports = [
                    Report(device_id=device, topic="t", raw=b"", items=[fix(second + seed / 10)])
                    for device in devices
                ]
                with sessions() as session:
                    intake.take(session, reports, NOW)
                    session.commit()
        except BaseException as error:
            failures.append(error)

    writers = [threading.Thread(target=write, args=(seed,)) for seed in (1, 2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert failures == []
    with sessions() as session:
        assert session.execute(text("SELECT count(*) FROM position")).scalar_one() == 20 * 30 * 2


def test_the_facts_can_be_read_again(van: Van, engine: Engine) -> None:
    delivery_id = van.delivery()
    van.take(fix(0))
    facts = van.facts
    part = van.vehicle.id % 16
    assert position_newest.newest_facts(van.session, part, 16) == facts
    assert facts[0].deliveries == (delivery_id,)
    assert position_newest.newest_facts(van.session, (part + 1) % 16, 16) == []
    # Reading again must not wait for a writer's lock.
    with engine.begin() as writer:
        writer.execute(text("SELECT 1 FROM vehicle FOR NO KEY UPDATE"))
        assert position_newest.newest_facts(van.session, part, 16) == facts


def quarantine_of(session: Session) -> list[tuple[Any, ...]]:
    query = text("SELECT company_id, device_id, raw, reason FROM quarantine ORDER BY id")
    return [(row[0], row[1], bytes(row[2]), row[3]) for row in session.execute(query)]
