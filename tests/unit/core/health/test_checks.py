"""The checks as rules of values, and the alerts at their changes."""

import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from core.health import checks, results, seeing
from core.health.checks import BrokerView, View
from core.health.heartbeats import PartKind, PartState
from core.health.history import ALERT_AFTER, History
from core.health.leader import Leader
from core.health.results import DEGRADED, FAILING, OK, UNKNOWN, CheckStatus, HealthCheck
from core.health.seeing import DatabaseView, Disk, OutboxState
from core.identities import SHARDS
from core.models.heartbeat import Heartbeat

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LONG_AGO = NOW - timedelta(minutes=5)


def heartbeat(part: PartKind, name: str, **changes: Any) -> Heartbeat:
    values = {"process": "host:1", "state": PartState.OK, "since": LONG_AGO, "seen_at": NOW, "detail": None}
    return Heartbeat(part=part, name=name, **(values | changes))


def shards(**changes: Any) -> list[Heartbeat]:
    return [heartbeat(PartKind.INGEST, shard, **changes) for shard in SHARDS]


OTHERS = [heartbeat(PartKind.RELAY, "relay"), heartbeat(PartKind.API, "host:2")]
WELL = DatabaseView(
    at=NOW,
    heartbeats=[*shards(), *OTHERS],
    leader=Leader(holder="host:1", term=1, since=LONG_AGO, renewed_at=NOW, silent_s=1.0),
    outbox=OutboxState(0, 0.0, 0),
    write_fault=None,
)
ON_BROKER = BrokerView(user_name="api-0", fault=None, waiting=0, dropped=0)
HALF_FREE = Disk(50 * 1024**3, 100 * 1024**3)


def view(
    database: DatabaseView | str = WELL, broker: BrokerView = ON_BROKER, disk: Disk | None = HALF_FREE
) -> View:
    return View(database=database, broker=broker, disk=disk)


def seen(**changes: Any) -> DatabaseView:
    return msgspec.structs.replace(WELL, **changes)


def bad(view: View) -> dict[str, CheckStatus]:
    return {check.name: check.status for check in checks.judge(view) if check.status is not OK}


def test_a_well_system_is_ok() -> None:
    assert bad(view()) == {}
    assert results.overall(checks.judge(view())) is OK


def test_an_unknown_disk_makes_nothing_worse() -> None:
    assert bad(view(disk=None)) == {"disk": UNKNOWN}
    assert results.overall(checks.judge(view(disk=None))) is OK


@pytest.mark.parametrize("word", [seeing.AWAY, seeing.NOT_MIGRATED, "It has not answered within 1.5 s."])
def test_without_the_database_nothing_of_it_is_claimed(word: str) -> None:
    found = bad(view(database=word))
    assert found.pop("database") is FAILING
    assert found == dict.fromkeys(["ingest", "leader", "relay", "outbox", "api"], UNKNOWN)


def test_a_process_off_the_broker_claims_no_queue() -> None:
    off = BrokerView(user_name="api-0", fault="the broker refused it", waiting=7, dropped=3)
    assert bad(view(broker=off)) == {"broker": FAILING, "queue": UNKNOWN}
    queue = next(check for check in checks.judge(view(broker=off)) if check.name == "queue")
    assert queue.figures == {"messages_waiting": None, "messages_dropped": None}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seen_at": NOW - timedelta(seconds=30)}, "silent for 30 s"),
        ({"state": PartState.OFF_BROKER, "detail": "refused"}, "not on the broker: refused"),
        ({"state": PartState.CANNOT_STORE, "detail": "DiskFull 53100"}, "cannot store: DiskFull 53100"),
        ({"state": PartState.STUCK, "detail": "for 40 s"}, "does not run: for 40 s"),
        ({"state": PartState.STOPPED}, "was stopped"),
    ],
)
def test_one_bad_shard_of_sixteen_is_named(changes: dict[str, Any], words: str) -> None:
    rows = [*shards()[1:], heartbeat(PartKind.INGEST, "0", **changes), *OTHERS]
    ingest = next(c for c in checks.judge(view(database=seen(heartbeats=rows))) if c.name == "ingest")
    assert ingest.status is FAILING
    assert ingest.detail.startswith("1 of 16 shards: ")
    assert words in ingest.detail
    assert [part.name for part in ingest.parts if part.status is not OK] == ["0"]


def test_a_relay_that_could_not_do_all_is_degraded() -> None:
    relay = heartbeat(
        PartKind.RELAY, "relay", state=PartState.IMPAIRED, detail="the broker's users may differ"
    )
    rows = [*shards(), relay, OTHERS[1]]
    assert bad(view(database=seen(heartbeats=rows))) == {"relay": DEGRADED}


def test_a_shard_that_never_spoke_is_failing() -> None:
    assert bad(view(database=seen(heartbeats=[*shards()[1:], *OTHERS]))) == {"ingest": FAILING}


def test_an_ended_api_process_is_not_missed_while_another_speaks() -> None:
    old = heartbeat(PartKind.API, "host:9", seen_at=LONG_AGO)
    assert bad(view(database=seen(heartbeats=[*WELL.heartbeats, old]))) == {}
    assert bad(view(database=seen(heartbeats=[*shards(), OTHERS[0], old]))) == {"api": FAILING}


@pytest.mark.parametrize(
    ("changes", "name", "status"),
    [
        ({"write_fault": "DiskFull 53100"}, "database", FAILING),
        ({"leader": None}, "leader", FAILING),
        ({"outbox": OutboxState(3, 61.0, 0)}, "outbox", DEGRADED),
        ({"outbox": OutboxState(3, 301.0, 0)}, "outbox", FAILING),
        ({"outbox": OutboxState(0, 0.0, 1)}, "outbox", DEGRADED),
    ],
)
def test_what_the_database_shows_is_judged(changes: dict[str, Any], name: str, status: CheckStatus) -> None:
    assert bad(view(database=seen(**changes))) == {name: status}


@pytest.mark.parametrize(
    ("free", "status"),
    [(1024**3, None), (1024**3 - 1, DEGRADED), (128 * 1024**2 - 1, FAILING)],
)
def test_a_disk_is_judged_by_what_is_left(free: int, status: CheckStatus | None) -> None:
    assert bad(view(disk=Disk(free, 100 * 1024**3))).get("disk") is status


def test_messages_that_pile_up_in_the_broker_degrade() -> None:
    full = msgspec.structs.replace(ON_BROKER, waiting=checks.MANY_WAITING + 1)
    assert bad(view(broker=full)) == {"queue": DEGRADED}


def check(status: CheckStatus) -> list[HealthCheck]:
    return [HealthCheck(name="ingest", status=status, detail="It is so.")]


def alerts(caplog: pytest.LogCaptureFixture, course: Sequence[tuple[float, CheckStatus]]) -> list[str]:
    history = History()
    with caplog.at_level(logging.INFO):
        for after_s, status in course:
            history.note(check(status), NOW + timedelta(seconds=after_s))
    return [record.getMessage() for record in caplog.records]


def test_an_alert_is_logged_once_at_each_end(caplog: pytest.LogCaptureFixture) -> None:
    late = ALERT_AFTER.total_seconds()
    course = [
        (0.0, OK),
        (2.0, FAILING),
        (late, FAILING),
        (late + 2, FAILING),
    ]
    course += [(late + 4, FAILING), (late + 6, OK), (late + 8, OK)]
    assert alerts(caplog, course) == [
        "alert=status check=ingest status=failing detail='It is so.'",
        f"alert=status check=ingest status=ok lasted_s={late + 4:.0f}",
    ]


def test_short_trouble_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    assert alerts(caplog, [(0, OK), (2, FAILING), (8, OK), (60, OK)]) == []


def test_unknown_neither_begins_nor_ends_an_alert(caplog: pytest.LogCaptureFixture) -> None:
    course = [(0.0, UNKNOWN), (60.0, UNKNOWN), (61.0, FAILING)]
    course += [
        (80.0, FAILING),
        (90.0, UNKNOWN),
        (100.0, FAILING),
        (110.0, OK),
    ]
    assert [line.split()[2] for line in alerts(caplog, course)] == ["status=failing", "status=ok"]


def test_since_is_when_the_status_was_taken_on() -> None:
    history = History()
    for after_s, status in ((0, OK), (2, FAILING), (4, FAILING)):
        (noted,) = history.note(check(status), NOW + timedelta(seconds=after_s))
    assert noted.since == NOW + timedelta(seconds=2)


def test_an_alert_is_logged_again_only_when_it_gets_worse(caplog: pytest.LogCaptureFixture) -> None:
    course = [
        (0.0, DEGRADED),
        (11.0, DEGRADED),
        (12.0, FAILING),
        (13.0, DEGRADED),
        (14.0, FAILING),
        (15.0, OK),
    ]
    logged = [line.split()[2] for line in alerts(caplog, course)]
    assert logged == ["status=degraded", "status=failing", "status=ok"]
