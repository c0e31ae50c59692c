"""The schedule: failed jobs are reported and run again, hanging ones delay no other, two leaders are safe."""

import json
import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import Select, func, select, text
from sqlalchemy.orm import Session, sessionmaker

from core.models.job import JobState
from core.models.record import Outbox
from core.nightly import job_states
from core.nightly.job_states import JobFailed, describe, retry_after
from core.operations import retained_facts
from core.records import outbox
from core.rules.enums import Status
from core.settings import Settings
from jobs import metrics
from jobs.schedule import run as run_module
from jobs.schedule import table
from jobs.schedule.run import Job, JobRun, drained, once, run_job
from local.services.ports import free_port
from tests.support import factories
from tests.support.services.processes import Processes
from tests.support.waiting import wait_until

SECOND = timedelta(seconds=1)
Value = TypeVar("Value")
SECRET = "clara@example.com"


def job(body: Callable[[JobRun], object], name: str = "tested", every: timedelta = SECOND) -> Job:
    return Job(name, "What a test does.", every, body)


def once_by_hand(sessions: sessionmaker[Session], tested: Job) -> str | None:
    """The error of one run."""
    return run_job(tested, JobRun(tested.name, sessions, threading.Event())).error


def state(session: Session, name: str = "tested") -> JobState:
    session.rollback()
    return session.get_one(JobState, name, populate_existing=True)


def divide_by_zero(session: Session, _now: datetime) -> None:
    session.execute(text("SELECT 1/0"))


def test_a_job_that_fails_is_reported_and_runs_again(
    session: Session, sessions: sessionmaker[Session], caplog: pytest.LogCaptureFixture
) -> None:
    runs = threading.Semaphore(0)

    def fail(session: Session, now: datetime) -> None:
        runs.release()
        divide_by_zero(session, now)

    with table.running(sessions, (job(once(fail), "failing"),)):
        for _ in range(3):
            assert runs.acquire(timeout=10)
        wait_until(lambda: state(session, "failing").consecutive_failures >= 3, what="three are counted")
        wait_until(lambda: state(session, "failing").next_run_at is not None, what="the next is planned")
    shown = state(session, "failing")
    assert shown.last_error is not None
    assert shown.last_error.startswith("DivisionByZero 22012 at tests/integration/jobs/test_jobs.py:")
    assert shown.last_succeeded_at is None
    assert (REGISTRY.get_sample_value("milepost_job_failed_total", {"job": "failing"}) or 0) >= 3
    assert "alert=job_failing job=failing failures=3" in caplog.text


def test_a_run_is_written_down(session: Session, sessions: sessionmaker[Session]) -> None:
    assert once_by_hand(sessions, job(once(divide_by_zero))) is not None
    assert once_by_hand(sessions, job(once(lambda _session, _now: 7))) is None
    shown = state(session)
    assert (shown.last_result, shown.last_error, shown.consecutive_failures) == ("7", None, 0)
    assert shown.last_succeeded_at == shown.last_ended_at
    assert shown.last_ended_at is not None
    assert shown.last_started_at <= shown.last_ended_at
    assert shown.last_duration_s is not None


def test_an_error_shows_no_row(session: Session, sessions: sessionmaker[Session]) -> None:
    company = factories.company(session)
    factories.user(session, company, email=SECRET)
    session.commit()

    def collide(session: Session, _now: datetime) -> None:
        factories.user(session, session.merge(company), email=SECRET)

    assert "UniqueViolation 23505" in str(once_by_hand(sessions, job(once(collide))))
    assert SECRET not in str(state(session).last_error)


def test_only_a_job_itself_may_say_more() -> None:
    assert describe(JobFailed("2 of 3\nnights failed")).startswith("2 of 3 nights failed at ")
    assert describe(ValueError(SECRET)) == "ValueError at no place of ours"


def test_what_fails_on_and_on_is_an_error_ever_more_rarely(caplog: pytest.LogCaptureFixture) -> None:
    tested = job(lambda _run: None)
    for failures in range(1, 25):
        run_module._log_failed_run(tested, failures, "451 busy")
    errors = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert [int(line.split("failures=")[1].split()[0]) for line in errors] == [1, 2, 3, 6, 12, 24]


def test_a_retry_comes_sooner_but_not_more_often_than_the_job_may_run() -> None:
    hour, minute = timedelta(hours=1), timedelta(minutes=1)
    assert [retry_after(n, hour) / SECOND for n in (1, 2, 3, 9, 90)] == [15, 30, 60, 3600, 3600]
    assert retry_after(9, minute) == minute


def test_a_failure_of_a_rare_job_is_planned_anew(session: Session, sessions: sessionmaker[Session]) -> None:
    with table.running(sessions, (job(once(divide_by_zero), every=timedelta(hours=6)),)):
        wait_until(lambda: _fresh(session, select(JobState.next_run_at)), what="it is planned")
    shown = state(session)
    assert shown.next_run_at is not None
    assert shown.next_run_at - shown.last_started_at < timedelta(minutes=1)


def test_one_that_hangs_stops_no_other_and_not_the_end(sessions: sessionmaker[Session]) -> None:
    hangs, freed = threading.Event(), threading.Event()
    runs = threading.Semaphore(0)

    def hang(_run: JobRun) -> None:
        hangs.set()
        freed.wait(30)

    others = [job(lambda _run: runs.release(), f"other {number}") for number in range(3)]
    with table.running(sessions, (job(hang, "hanging"), *others)) as jobs:
        assert hangs.wait(10)
        for _ in range(2 * len(others)):
            assert runs.acquire(timeout=10)
    wait_until(lambda: jobs.wait(0.05) == ["hanging"], what="the others have ended")
    freed.set()
    assert jobs.wait(10) == []


def test_what_is_drained_is_done_in_batches_until_there_is_none(sessions: sessionmaker[Session]) -> None:
    left = [3, 3, 1, 0, 5]
    assert drained(lambda _session, _now: left.pop(0))(JobRun("tested", sessions, threading.Event())) == 7
    stopped = threading.Event()
    stopped.set()
    assert drained(lambda _session, _now: left.pop(0))(JobRun("tested", sessions, stopped)) == 0
    assert left == [5]


def test_two_leaders_do_what_there_is_once(
    session: Session, sessions: sessionmaker[Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All real jobs, twice at once, over rows that both would like to have."""
    monkeypatch.setattr(retained_facts, "BATCH", 5)
    company = factories.company(session)
    ended = datetime.now(UTC) - timedelta(days=2)
    customer_id = factories.customer(session, company).id
    for _ in range(40):
        factories.delivery(
            session,
            company,
            Status.DELIVERED,
            customer_id=customer_id,
            driver_id=None,
            vehicle_id=None,
            ended_at=ended,
            fact_retained=True,
        )
    session.commit()
    both = threading.Barrier(2)

    def lead() -> None:
        both.wait(10)
        for tested in table.JOBS:
            assert once_by_hand(sessions, tested) is None

    leaders = [threading.Thread(target=lead) for _ in range(2)]
    for leader in leaders:
        leader.start()
    for leader in leaders:
        leader.join(30)
    gone = select(func.count()).where(Outbox.kind == outbox.OutboxKind.DELIVERY_GONE)
    assert session.scalar(gone) == 40
    assert {shown.name for shown in job_states.read(session).values() if not shown.consecutive_failures} == {
        tested.name for tested in table.JOBS
    }


def test_the_table_of_jobs_is_shown(processes: Processes, session: Session) -> None:
    assert "No jobs process leads" in _done(processes, "jobs", "list")
    leader = processes.start("jobs")
    planned = select(func.count(JobState.next_run_at))
    wait_until(lambda: _fresh(session, planned) == len(table.JOBS), what="all have run and are planned")
    listed = _listed(processes, "partitions")
    assert (listed["state"], listed["every_s"], listed["consecutive_failures"]) == ("ok", 21600, 0)
    shown = _done(processes, "jobs", "list")
    assert "A jobs process has led for" in shown
    assert f":{leader.pid})" in shown
    assert leader.terminate() == 0


def test_a_job_that_waits_is_cut_off_at_the_end(
    processes: Processes, sessions: sessionmaker[Session], session: Session
) -> None:
    with sessions() as holder:
        holder.execute(text("LOCK login_attempt"))
        leader = processes.start("jobs", MILEPOST_SHUTDOWN_TIMEOUT_S="4")
        wait_until(lambda: _waits_for_us(session), what="the job waits for the lock")
        assert leader.terminate() == 0
    assert "jobs_cut_off jobs=login_attempts" in leader.output()


def test_a_job_is_run_by_hand(processes: Processes, session: Session) -> None:
    session.execute(text("DROP TABLE login_attempt"))
    session.commit()
    refused = processes.start("jobs", "run", "login_attempts")
    assert refused.wait() == 1
    assert "login_attempts failed: UndefinedTable 42P01 at core/accounts/throttle.py:" in refused.output()
    assert "nothing to do" in _done(processes, "jobs", "run", "partitions")
    assert set(job_states.read(session)) == {"login_attempts", "partitions"}
    assert "FAILED 1 x: UndefinedTable" in _done(processes, "jobs", "list")
    unknown = processes.start("jobs", "run", "nonsense")
    assert unknown.wait() == 1
    assert "there are: partitions," in unknown.output()


def test_the_metrics_show_how_each_job_fares(sessions: sessionmaker[Session], settings: Settings) -> None:
    partitions = table.find("partitions")
    assert partitions is not None
    once_by_hand(sessions, partitions)
    with metrics.served(settings.model_copy(update={"jobs_metrics_port": free_port()}), sessions):
        names = ("last_start_timestamp", "last_end_timestamp", "last_success_timestamp", "last_duration")
        shown = {
            name: REGISTRY.get_sample_value(f"milepost_job_{name}_seconds", {"job": "partitions"})
            for name in names
        }
        assert None not in shown.values()
        failures = REGISTRY.get_sample_value("milepost_job_consecutive_failures", {"job": "partitions"})
        assert failures == 0


def _fresh(session: Session, query: Select[Value]) -> Value | None:
    """What a query finds now."""
    session.rollback()
    return session.scalar(query)


def _waits_for_us(session: Session) -> bool | None:
    return _fresh(session, select(text("true FROM pg_locks WHERE NOT granted AND relation IS NOT NULL")))


def _list(processes: Processes) -> list[dict[str, object]]:
    listing: dict[str, list[dict[str, object]]] = json.loads(_done(processes, "jobs", "list", "--json"))
    return listing["jobs"]


def _listed(processes: Processes, name: str) -> dict[str, object]:
    return next(line for line in _list(processes) if line["name"] == name)


def _done(processes: Processes, *arguments: str) -> str:
    process = processes.start(*arguments)
    assert process.wait(30) == 0, process.output()
    return process.output()
