"""Once a night for each company: by its own clocks, caught up, and whoever else tries."""

import threading
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

from sqlalchemy import delete, select
from sqlalchemy.orm import Session, sessionmaker

from core.models.company import Company
from core.models.job import NightlyRun
from core.nightly import nights
from core.nightly.nights import Night
from jobs.schedule.run import Job, JobRun, Nightly, RunOutcome, run_job
from tests.support import factories

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
NOON = datetime(2026, 3, 29, 12, tzinfo=UTC)
WORK = "tested"


def company(session: Session, zone: str = "UTC", created_at: datetime = LONG_AGO) -> Company:
    return factories.company(session, time_zone=zone, created_at=created_at)


def due_days(session: Session, company: Company, now: datetime, hour: int = 2) -> list[date]:
    return [n.day for n in nights.due(session, WORK, hour, now) if n.company_id == company.id]


def do_all(session: Session, now: datetime, hour: int = 2) -> None:
    for night in nights.due(session, WORK, hour, now):
        assert nights.claim(session, WORK, night, now)
    session.commit()


def run(
    sessions: sessionmaker[Session], work: Callable[[Session, Night, datetime], object], hour: int = 0
) -> RunOutcome:
    tested = Job(WORK, "What a test does.", timedelta(minutes=5), Nightly(hour, work))
    return run_job(tested, JobRun(WORK, sessions, threading.Event()))


def test_each_company_has_its_own_night(session: Session) -> None:
    auckland, berlin = company(session, "Pacific/Auckland"), company(session, "Europe/Berlin")
    honolulu = company(session, "Pacific/Honolulu")
    at = datetime(2026, 2, 28, 13, 30, tzinfo=UTC)  # 1 March, 2:30, in Auckland
    found = {night.company_id: night for night in nights.due(session, WORK, 2, at)}
    assert found[auckland.id].day == date(2026, 2, 28)
    assert found[berlin.id].day == date(2026, 2, 27)
    assert found[honolulu.id].day == date(2026, 2, 27)
    assert found[auckland.id].starts_at == datetime(2026, 2, 27, 11, tzinfo=UTC)
    assert found[auckland.id].ends_at == datetime(2026, 2, 28, 11, tzinfo=UTC)


def test_a_night_is_done_once_over_the_change_of_the_clocks(session: Session) -> None:
    berlin = company(session, "Europe/Berlin")
    start = datetime(2026, 10, 23, 12, tzinfo=UTC)
    done: list[date] = []
    for quarters in range(4 * 24 * 4):
        now = start + timedelta(minutes=15 * quarters)
        done += due_days(session, berlin, now)
        do_all(session, now)
    assert done == [date(2026, 10, 22 + number) for number in range(5)]


def test_a_downtime_is_caught_up(session: Session) -> None:
    ours = company(session)
    do_all(session, NOON)
    later = NOON + timedelta(days=3)
    assert due_days(session, ours, later) == [date(2026, 3, 29), date(2026, 3, 30), date(2026, 3, 31)]
    do_all(session, later)
    assert due_days(session, ours, later) == []


def test_a_new_company_has_no_night_before_it_was_there(session: Session) -> None:
    ours = company(session, created_at=NOON)
    assert due_days(session, ours, NOON) == []
    assert due_days(session, ours, NOON + timedelta(days=1)) == [NOON.date()]


def test_another_zone_makes_no_night_twice(session: Session) -> None:
    ours = company(session, "Pacific/Auckland")
    now = datetime(2026, 2, 28, 13, 30, tzinfo=UTC)
    do_all(session, now)
    ours.time_zone = "Pacific/Honolulu"
    session.commit()
    assert due_days(session, ours, now) == []


def test_what_fails_is_due_again_and_stops_no_other(
    session: Session, sessions: sessionmaker[Session]
) -> None:
    poor, good = company(session), company(session)
    session.commit()
    done: list[int] = []

    def work(_session: Session, night: Night, _now: datetime) -> None:
        if night.company_id == poor.id:
            raise ValueError("Clara Customer")
        done.append(night.company_id)

    failed = run(sessions, work)
    assert failed.error is not None
    assert failed.error.startswith(f"1 of 2 nights failed; the first: company {poor.id}, ")
    assert "Clara" not in failed.error
    assert done == [good.id]
    assert run(sessions, lambda _session, night, _now: done.append(night.company_id)).error is None
    assert done == [good.id, poor.id]


def test_two_leaders_do_each_night_once(session: Session, sessions: sessionmaker[Session]) -> None:
    companies = {company(session).id for _ in range(10)}
    session.commit()
    both, done = threading.Barrier(2), []
    met: set[int] = set()

    def work(_session: Session, night: Night, _now: datetime) -> None:
        if threading.get_ident() not in met:  # each is inside its first night while the other is
            met.add(threading.get_ident())
            both.wait(10)
        done.append(night.company_id)

    leaders = [threading.Thread(target=run, args=(sessions, work)) for _ in range(2)]
    for leader in leaders:
        leader.start()
    for leader in leaders:
        leader.join(30)
    assert sorted(done) == sorted(companies)
    assert set(session.scalars(select(NightlyRun.company_id))) == companies


def test_a_night_that_was_cut_off_is_done_by_the_next(
    session: Session, sessions: sessionmaker[Session]
) -> None:
    ours = company(session)
    session.commit()
    [night] = [n for n in nights.due(session, WORK, 2, NOON) if n.company_id == ours.id]
    with sessions() as cut_off, sessions() as other:
        assert nights.claim(cut_off, WORK, night, NOON)
        assert not nights.claim(other, WORK, night, NOON)
        cut_off.rollback()
        assert nights.claim(other, WORK, night, NOON)
        other.commit()
    assert not nights.claim(session, WORK, night, NOON)


def test_marks_of_long_ago_are_forgotten(session: Session) -> None:
    company(session)
    do_all(session, NOON)
    assert nights.purge_old_runs(session, NOON + nights.KEPT - timedelta(days=1)) == 0
    assert nights.purge_old_runs(session, NOON + nights.KEPT) == 1
    assert session.execute(delete(NightlyRun)).rowcount == 0  # type: ignore[attr-defined]
