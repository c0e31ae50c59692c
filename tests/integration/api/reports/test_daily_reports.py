"""A company's days: counted, stored at night, kept, announced, in three formats, for their company only."""

import io
import threading
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from pypdf import PdfReader
from sqlalchemy import event, select, text
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from core.models.company import Company
from core.models.fleet import Vehicle
from core.models.notification import Notification, NotificationSetting
from core.models.people import Driver
from core.models.report import DailyReport
from core.nightly import nights
from core.nightly.nights import Night
from core.reporting import daily_report
from core.reporting.daily_report import Daily
from core.rules.enums import CheckpointKind, Status
from core.rules.times import time_zones
from core.settings import Settings
from jobs.schedule.run import JobRun, run_job
from jobs.schedule.table import find as find_job
from tests.support import factories
from tests.support.api_client import House, assert_bad_field, assert_problem, bearer, furnish

ZONE = "Europe/Berlin"
DAY = date(2026, 3, 29)  # of 23 hours there
STARTS_AT, ENDS_AT = time_zones.day_bounds(DAY, ZONE)
NIGHT = ENDS_AT + timedelta(hours=1)
METRE = 1 / 111_195


@pytest.fixture
def company(session: Session) -> Company:
    return factories.company(session, time_zone=ZONE, created_at=STARTS_AT - timedelta(days=40))


@pytest.fixture
def van(session: Session, company: Company) -> Vehicle:
    return factories.vehicle(session, company, name="Sprinter", plate="B-FW 1")


@pytest.fixture
def dora(session: Session, company: Company) -> Driver:
    return factories.driver(session, company, name="Dora")


def ended(
    session: Session,
    company: Company,
    at: datetime,
    status: Status = Status.DELIVERED,
    reason: str | None = None,
    **values: Any,
) -> int:
    delivery = factories.delivery(
        session,
        company,
        status,
        **{"started_at": at - timedelta(minutes=30), "ended_at": at, "created_at": STARTS_AT} | values,
    )
    session.execute(
        text("UPDATE delivery_checkpoint SET reason = :reason, occurred_at = :at WHERE delivery_id = :id"),
        {"reason": reason, "at": at, "id": delivery.id},
    )
    return delivery.id


def drive(session: Session, vehicle_id: int, start: datetime, minutes: int, from_m: float = 0.0) -> None:
    """North at 10 m/s, a fix every 5 s."""
    session.execute(
        text(
            "INSERT INTO position (vehicle_id, fix_time, latitude, longitude, received_at, suspect)"
            " SELECT :vehicle, CAST(:start AS timestamptz) + i * interval '5 s',"
            " 52 + (:from_m + i * 50) * :metre, 13.4, :start, false FROM generate_series(0, :count) i"
        ),
        {"vehicle": vehicle_id, "start": start, "count": minutes * 12, "from_m": from_m, "metre": METRE},
    )


def make_months(session: Session) -> None:
    """Of the day that is looked at."""
    session.execute(
        text(
            "CREATE TABLE IF NOT EXISTS position_2026_03 PARTITION OF position"
            " FOR VALUES FROM ('2026-03-01 00:00:00+00') TO ('2026-04-01 00:00:00+00')"
        )
    )


def night(company: Company, day: date = DAY) -> Night:
    starts_at, ends_at = time_zones.day_bounds(day, ZONE)
    return Night(
        company_id=company.id,
        company=company.slug,
        time_zone=ZONE,
        day=day,
        starts_at=starts_at,
        ends_at=ends_at,
    )


def made(session: Session, company: Company, day: date = DAY) -> Daily:
    """As the night stores it and a manager reads it."""
    daily_report.make(session, night(company, day), NIGHT)
    return read(session, company, day)


def read(session: Session, company: Company, day: date = DAY, now: datetime = NIGHT) -> Daily:
    session.flush()
    actor = factories.actor(company, factories.user(session, company))
    return daily_report.find(session, actor, day, now)


def test_delivery_counts_for_the_local_day_on_which_it_ended(session: Session, company: Company) -> None:
    ended(session, company, STARTS_AT - timedelta(seconds=1))
    first = ended(session, company, STARTS_AT, Status.FAILED, started_at=STARTS_AT - timedelta(hours=3))
    last = ended(session, company, ENDS_AT - timedelta(seconds=1), Status.RETURNED)
    ended(session, company, ENDS_AT)
    figures = read(session, company).figures
    assert [one.delivery_id for one in figures.problems] == [first, last]
    assert figures.total.deliveries == 2
    assert len(figures.hours) == 23
    assert [n for n, hour in enumerate(figures.hours) if hour.tally.deliveries] == [0, 22]


def test_nothing_is_overdue_before_its_window_ends(session: Session, company: Company) -> None:
    noon = STARTS_AT + timedelta(hours=11)
    factories.delivery(
        session, company, Status.IN_TRANSIT, started_at=noon - timedelta(hours=1), window_end=noon
    )
    before = read(session, company, now=noon - timedelta(minutes=1)).figures
    assert (before.under_way, before.overdue) == (1, 0)
    assert read(session, company, now=noon + timedelta(minutes=1)).figures.overdue == 1


def test_counts_of_a_day(session: Session, company: Company, van: Vehicle, dora: Driver) -> None:
    crew: dict[str, Any] = {"driver_id": dora.id, "vehicle_id": van.id}
    noon = STARTS_AT + timedelta(hours=11)
    window: dict[str, Any] = {"window_start": noon - timedelta(hours=1), "window_end": noon}
    ended(session, company, noon, **crew, **window)
    ended(session, company, noon + timedelta(minutes=10), **crew, **window)
    ended(session, company, noon)
    ended(session, company, noon, Status.FAILED, "Nobody there", **window)
    ended(session, company, noon, Status.RETURNED, "nobody there")
    factories.delivery(session, company, Status.IN_TRANSIT, started_at=noon, **window)
    factories.delivery(session, company, Status.PENDING, window_end=ENDS_AT)
    ended(session, factories.company(session), noon)
    figures = read(session, company).figures
    total = figures.total
    assert (total.deliveries, total.delivered, total.failed, total.returned) == (5, 3, 1, 1)
    assert (total.with_window, total.on_time, total.late, total.late_seconds) == (3, 1, 1, 600)
    assert total.on_time_percent == 33.3
    assert (figures.under_way, figures.overdue) == (1, 1)
    assert [(one.reason, one.status) for one in figures.reasons] == [
        ("Nobody there", Status.FAILED),
        ("nobody there", Status.RETURNED),
    ]
    best = figures.drivers[0]
    assert (best.name, best.tally.deliveries, best.tally.on_time) == ("Dora", 2, 1)
    assert figures.vehicles[0].name == "Sprinter (B-FW 1)"
    assert [one.late_seconds for one in figures.problems] == [0, 0, 600]


def test_vehicle_drives_all_day_and_a_driver_while_delivering(
    session: Session, company: Company, van: Vehicle, dora: Driver
) -> None:
    make_months(session)
    begin = STARTS_AT + timedelta(hours=8)
    drive(session, van.id, begin, 60)
    # Two at once are one drive: minutes 10 to 40.
    for start, end in ((10, 30), (20, 40)):
        ended(
            session,
            company,
            begin + timedelta(minutes=end),
            started_at=begin + timedelta(minutes=start),
            driver_id=dora.id,
            vehicle_id=van.id,
        )
    figures = read(session, company).figures
    assert figures.distance_m == pytest.approx(36_000, rel=0.01)
    assert figures.vehicles[0].distance_m == figures.distance_m
    assert figures.drivers[0].distance_m == pytest.approx(18_000, rel=0.02)


def test_driver_drives_from_its_assignment_on(
    session: Session, company: Company, van: Vehicle, dora: Driver
) -> None:
    make_months(session)
    begin = STARTS_AT + timedelta(hours=8)
    drive(session, van.id, begin, 60)
    late = factories.driver(session, company, name="Late")
    id = ended(
        session,
        company,
        begin + timedelta(minutes=60),
        started_at=begin,
        driver_id=dora.id,
        vehicle_id=van.id,
    )
    delivery = session.execute(text("SELECT company_id FROM delivery WHERE id = :id"), {"id": id}).one()
    session.execute(
        text(
            "INSERT INTO delivery_checkpoint (company_id, delivery_id, kind, status, vehicle_id, driver_id,"
            " occurred_at, recorded_at) VALUES (:company, :id, :kind, 'in_transit', :van, :driver, :at, :at)"
        ),
        {
            "company": delivery.company_id,
            "id": id,
            "kind": CheckpointKind.ASSIGNMENT.value,
            "van": van.id,
            "driver": late.id,
            "at": begin + timedelta(minutes=45),
        },
    )
    shares = {one.name: one.distance_m for one in read(session, company).figures.drivers}
    assert shares == {"Dora": pytest.approx(27_000, rel=0.02), "Late": pytest.approx(9_000, rel=0.02)}


def test_parked_receiver_and_leaps_drive_nowhere(session: Session, company: Company, van: Vehicle) -> None:
    make_months(session)
    session.execute(
        text(
            "INSERT INTO position (vehicle_id, fix_time, latitude, longitude, received_at, suspect)"
            " SELECT :vehicle, CAST(:start AS timestamptz) + i * interval '10 s',"
            " 52 + (i % 3) * 4 * :metre + CASE i WHEN 50 THEN 3 ELSE 0 END, 13.4, :start, false"
            " FROM generate_series(0, 300) i"
        ),
        {"vehicle": van.id, "start": STARTS_AT, "metre": METRE},
    )
    assert read(session, company).figures.distance_m == 0


def test_stored_day_stays_when_what_it_was_counted_from_is_deleted(
    session: Session, company: Company, van: Vehicle
) -> None:
    make_months(session)
    drive(session, van.id, STARTS_AT, 10)
    ended(session, company, STARTS_AT + timedelta(hours=1))
    before = made(session, company)
    for table in ("position", "delivery_checkpoint", "delivery"):
        session.execute(text(f"DELETE FROM {table}"))
    session.execute(text("UPDATE company SET time_zone = 'Asia/Tokyo'"))
    session.expire_all()
    after = read(session, company)
    assert after.is_final
    assert after == before
    assert after.figures.distance_m > 5_000


def test_late_fixes_restate_the_days_before(session: Session, company: Company) -> None:
    ended(session, company, STARTS_AT + timedelta(hours=1))
    assert made(session, company).figures.total.deliveries == 1
    ended(session, company, STARTS_AT + timedelta(hours=2))
    assert read(session, company).figures.total.deliveries == 1
    made(session, company, DAY + timedelta(days=1))
    assert read(session, company).figures.total.deliveries == 2


def test_managers_are_notified_once_if_the_company_wishes(session: Session, company: Company) -> None:
    factories.user(session, company)
    ended(session, company, STARTS_AT + timedelta(hours=1))
    query = select(Notification).where(Notification.event == "daily_report")
    made(session, company)
    assert session.scalars(query).all() == [], "no manager asked for it"
    session.add(
        NotificationSetting(company_id=company.id, event="daily_report", customer=False, managers=True)
    )
    session.flush()
    for _ in range(2):
        daily_report.make(session, night(company), NIGHT)
    notifications = session.scalars(query).all()
    assert len({one.recipient for one in notifications}) == len(notifications) >= 1
    payload = notifications[0].payload
    assert (payload["day"], payload["deliveries"], payload["distance_km"]) == ("2026-03-29", 1, 0.0)


def test_no_notification_for_a_day_without_anything(session: Session, company: Company) -> None:
    factories.user(session, company)
    session.add(
        NotificationSetting(company_id=company.id, event="daily_report", customer=False, managers=True)
    )
    made(session, company)
    assert session.scalars(select(Notification).where(Notification.event == "daily_report")).all() == []


def test_job_of_the_night_makes_it(session: Session, sessions: Any) -> None:
    """By the table of jobs, as the jobs process does."""
    company = factories.company(session, created_at=datetime.now(UTC) - timedelta(days=3))
    session.commit()
    job = find_job("daily_reports")
    assert job is not None
    outcome = run_job(job, JobRun(job.name, sessions, threading.Event()))
    assert outcome.error is None
    (row,) = session.scalars(select(DailyReport).where(DailyReport.company_id == company.id)).all()
    assert row.day == time_zones.last_day_over(datetime.now(UTC), "UTC", 1)
    assert nights.due(session, "daily_reports", 1, datetime.now(UTC)) == []


def test_number_of_statements_does_not_grow_with_the_day(session: Session, company: Company) -> None:
    def statements() -> int:
        seen: list[str] = []
        session.expire_all()
        note: Callable[..., None] = lambda *args: seen.append(args[2])  # noqa: E731
        event.listen(session.get_bind(), "before_cursor_execute", note)
        read(session, company)
        event.remove(session.get_bind(), "before_cursor_execute", note)
        return len(seen)

    ended(session, company, STARTS_AT)
    few = statements()
    for minute in range(30):
        ended(session, company, STARTS_AT + timedelta(minutes=minute), Status.FAILED, f"reason {minute}")
    assert statements() == few + 3, "a statement of distances for each ten vehicles more"


# --- over REST ---


@pytest.fixture
def house(session: Session) -> House:
    """With deliveries of today, as it is counted so far."""
    house = furnish(session)
    house.company.time_zone = "Pacific/Kiritimati"
    session.merge(house.company)
    now = datetime.now(UTC)
    ended(session, house.company, now, reference="<b>D-1</b>", window_end=now - timedelta(hours=1))
    ended(session, house.company, now, Status.FAILED, "<script>Łódź</script>")
    session.commit()
    return house


def today(house: House) -> str:
    return time_zones.day_of(datetime.now(UTC), house.company.time_zone).isoformat()


def test_day_so_far_in_three_formats(client: TestClient, house: House, settings: Settings) -> None:
    path = f"/reports/daily/{today(house)}/"
    headers = bearer(settings, house.operator)
    report = client.get(path, headers=headers).json()
    assert (report["is_final"], report["time_zone"]) == (False, "Pacific/Kiritimati")
    assert report["figures"]["total"]["deliveries"] == 2
    assert report["figures"]["total"]["on_time_percent"] == 0
    page = client.get(path, headers=headers | {"Accept": "text/html"})
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert page.headers["content-disposition"] == f'inline; filename="daily-report-{today(house)}.html"'
    for words in ("So far", "Deliveries by hour", "Share on time", "&lt;script&gt;Łódź", "&lt;b&gt;D-1"):
        assert words in page.text, words
    assert "<script" not in page.text
    paper = client.get(path, params={"format": "pdf"}, headers=headers)
    assert "Łódź" in PdfReader(io.BytesIO(paper.content)).pages[0].extract_text()
    assert_problem(client.get(path, headers=headers | {"Accept": "image/png"}), 406, "NotAcceptable")
    assert_bad_field(client.get(path, params={"format": "gpx"}, headers=headers), "format")


def test_days_are_the_staffs_and_the_companys(
    client: TestClient, house: House, settings: Settings, session: Session
) -> None:
    stranger = furnish(session)
    daily_report.make(session, night(house.company), NIGHT)
    session.commit()
    for path in ("/reports/daily/", f"/reports/daily/{today(house)}/"):
        for person in (house.driver, house.customer):
            assert_problem(client.get(path, headers=bearer(settings, person)), 403, "Forbidden")
        assert client.get(path).status_code == 401
    mine = client.get("/reports/daily/", headers=bearer(settings, house.manager)).json()
    assert [one["day"] for one in mine["items"]] == [DAY.isoformat()]
    theirs = bearer(settings, stranger.manager)
    assert client.get("/reports/daily/", headers=theirs).json()["items"] == []
    assert_problem(client.get(f"/reports/daily/{DAY}/", headers=theirs), 404, "NotFound")


def test_days_that_are_none_are_missing(client: TestClient, house: House, settings: Settings) -> None:
    headers = bearer(settings, house.manager)
    ahead = (datetime.now(UTC) + timedelta(days=3)).date().isoformat()
    for day in (
        ahead,
        "1999-01-01",
        "2026-02-30",
        "1774742400",
        "today",
        "2026-3-1",
        "9999-12-31",
        "0001-01-01",
    ):
        assert_problem(client.get(f"/reports/daily/{day}/", headers=headers), 404, "NotFound")


def test_list_of_days_is_paged_newest_first(
    client: TestClient, house: House, settings: Settings, session: Session
) -> None:
    days = [DAY + timedelta(days=number) for number in range(3)]
    for day in days:
        daily_report.make(session, night(house.company, day), NIGHT)
    session.commit()
    headers = bearer(settings, house.manager)
    first = client.get("/reports/daily/", params={"limit": 2}, headers=headers).json()
    second = client.get("/reports/daily/", params={"cursor": first["next"]}, headers=headers).json()
    found = [one["day"] for one in first["items"] + second["items"]]
    assert found == [day.isoformat() for day in reversed(days)]
    assert second["next"] is None
    assert_bad_field(
        client.get("/reports/daily/", params={"cursor": "OTk5OTk5OTk"}, headers=headers), "cursor"
    )


def test_unknown_zone_of_a_tenant_stops_no_daily_report(
    client: TestClient, house: House, settings: Settings, session: Session
) -> None:
    session.execute(text("UPDATE company SET time_zone = 'Mars/Olympus'"))
    session.commit()
    path = f"/reports/daily/{datetime.now(UTC).date().isoformat()}/"
    headers = bearer(settings, house.operator)
    assert client.get(path, headers=headers).json()["figures"]["total"]["deliveries"] == 2
    page = client.get(path, params={"format": "html"}, headers=headers)
    assert "UTC (this server does not know the time zone Mars/Olympus)" in page.text
    paper = client.get(path, params={"format": "pdf"}, headers=headers)
    assert "Mars/Olympus" in PdfReader(io.BytesIO(paper.content)).pages[0].extract_text()
    assert client.get("/reports/daily/", headers=headers).status_code == 200
