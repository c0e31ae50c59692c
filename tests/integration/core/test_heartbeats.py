"""The table of heartbeats, and the thread that writes a process's own."""

import time
from collections.abc import Sequence
from itertools import count

import pytest
from sqlalchemy import make_url, text
from sqlalchemy.orm import Session, sessionmaker

from broker.connection import BrokerLogin
from core.health import heartbeats
from core.health.beating import beating
from core.health.heartbeats import Beat, PartKind, PartState, me
from core.models.heartbeat import Heartbeat
from ingest.connection import Connection, ConnectionLost
from local.services.ports import free_port
from tests.support.servers.fronts import plain_front
from tests.support.services.settings import make_settings
from tests.support.waiting import wait_until

STOP_PROMISED_S, SLACK_S = 1.0, 5.0


def beat(name: str = "0", state: PartState = PartState.OK, part: PartKind = PartKind.INGEST) -> Beat:
    return Beat(part=part, name=name, state=state)


def rows(sessions: sessionmaker[Session]) -> dict[str, Heartbeat]:
    with sessions() as session:
        return {row.name: row for row in heartbeats.read(session)}


def write(sessions: sessionmaker[Session], process: str, *beats: Beat) -> None:
    with sessions.begin() as session:
        heartbeats.write(session, process, beats)


def test_since_stays_while_the_state_does(sessions: sessionmaker[Session]) -> None:
    write(sessions, "host:1", beat())
    first = rows(sessions)["0"]
    write(sessions, "host:1", beat())
    second = rows(sessions)["0"]
    assert second.seen_at > first.seen_at
    assert second.since == first.since
    write(sessions, "host:1", beat(state=PartState.OFF_BROKER))
    assert rows(sessions)["0"].since > first.since


def test_a_stop_leaves_what_another_process_has_taken_over(sessions: sessionmaker[Session]) -> None:
    write(sessions, "host:1", beat("0"), beat("1"), beat("relay", part=PartKind.RELAY))
    write(sessions, "host:2", beat("1"))
    with sessions.begin() as session:
        heartbeats.stopped(session, "host:1", [PartKind.INGEST])
    states = {name: row.state for name, row in rows(sessions).items()}
    assert states == {"0": "stopped", "1": "ok", "relay": "ok"}


def test_rows_of_old_api_processes_are_purged(sessions: sessionmaker[Session]) -> None:
    write(sessions, "host:1", beat("0"), beat("old", part=PartKind.API), beat("new", part=PartKind.API))
    with sessions.begin() as session:
        session.execute(
            text("UPDATE heartbeat SET seen_at = now() - interval '25 hours' WHERE name IN ('0', 'old')")
        )
        heartbeats.purge_old_processes(session)
    assert set(rows(sessions)) == {"0", "new"}


def test_the_disk_space_probe_grows_a_file_and_keeps_nothing(session: Session) -> None:
    size = text("SELECT pg_relation_size('heartbeat_room')")
    for _ in range(2):
        heartbeats.require_disk_space(session)
        assert session.scalar(size) == 8 * 8192
        session.commit()
        assert session.scalar(size) == 0
        session.commit()


def test_a_process_beats_until_it_stops(database_url: str, sessions: sessionmaker[Session]) -> None:
    with beating(make_settings(database_url), lambda: [beat()], every_s=0.05):
        first = wait_until(lambda: rows(sessions).get("0"), what="the first beat")
        assert first is not None
        assert first.process == me()
        wait_until(lambda: rows(sessions)["0"].seen_at > first.seen_at, what="another beat")
    wait_until(lambda: rows(sessions)["0"].state == PartState.STOPPED, what="the last word")


def test_a_report_that_fails_ends_no_heartbeat(database_url: str, sessions: sessionmaker[Session]) -> None:
    calls = count(1)

    def report() -> Sequence[Beat]:
        if next(calls) == 1:
            raise RuntimeError
        return [beat(state=PartState.STUCK)]

    with beating(make_settings(database_url), report, every_s=0.05):
        wait_until(lambda: rows(sessions).get("0"), what="a beat after a failure")


@pytest.mark.parametrize("is_frozen_before", [True, False])
def test_a_frozen_database_holds_no_process_up(
    database_url: str, sessions: sessionmaker[Session], *, is_frozen_before: bool
) -> None:
    url = make_url(database_url)
    with plain_front((url.host or "", url.port or 5432)) as front:
        through = url.set(host="127.0.0.1", port=front.port).render_as_string(hide_password=False)
        if is_frozen_before:
            front.freeze()
        with beating(make_settings(through), lambda: [beat()], every_s=0.05):
            if not is_frozen_before:
                wait_until(lambda: rows(sessions).get("0"), what="the first beat")
                front.freeze()
            begun = time.monotonic()
        assert time.monotonic() - begun < STOP_PROMISED_S + SLACK_S


def test_a_refusal_has_the_brokers_words_and_names_no_host() -> None:
    assert ConnectionLost("up/0/+/# was refused: NOT_AUTHORIZED").summary.endswith("NOT_AUTHORIZED")
    with pytest.raises(ConnectionLost) as lost:
        Connection(BrokerLogin("127.0.0.1", free_port(), "ingest-0", "secret"), "up/0/+/#")
    assert lost.value.summary == "the broker cannot be reached"
