"""Dead-lettered outbox rows: an administrator lists, retries and drops them."""

from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from core.errors import Conflict, NotFound
from core.models.company import Company
from core.models.record import Outbox
from core.operations import dead_letters
from tests.support import factories
from tests.support.services.processes import Processes


@pytest.fixture
def acme(session: Session) -> Company:
    return factories.company(session, slug="acme")


def park(session: Session, company: Company | None, kind: str = "delivery_gone", **payload: Any) -> Outbox:
    row = Outbox(
        company_id=company.id if company else None,
        kind=kind,
        payload=payload or {"company": "acme", "id": 7},
        attempts=5,
        error="PUBACK 0x87\nNot authorized",
        parked_at=datetime.now(UTC),
    )
    session.add(row)
    session.commit()
    return row


def of_status(session: Session, company: Company) -> dict[str, Any]:
    """A status fact of a delivery that has no newer one."""
    delivery = factories.delivery(session, company)
    newest = factories.checkpoint(session, delivery)
    return {"delivery": delivery.id, "checkpoint": newest.id}


def audited(session: Session) -> list[tuple[str, ...]]:
    rows = session.execute(text("SELECT action, subject_id, actor_kind FROM audit_entry ORDER BY id"))
    return [tuple(row) for row in rows]


def test_rows_are_listed_retried_and_dropped_from_the_command_line(
    processes: Processes, session: Session, acme: Company
) -> None:
    first, second = park(session, acme), park(session, acme, "device", id="k3v9x0q2ma").id
    session.add(Outbox(company_id=acme.id, kind="device", payload={"id": "waits"}))
    session.commit()

    def printed(*arguments: str) -> str:
        process = processes.start("outbox", *arguments)
        assert process.wait(30) == 0, process.output()
        return process.output()

    one, other = printed("list").splitlines()
    assert one.split()[:3] == [str(first.id), "delivery_gone", "fleet/acme/deliveries/7/status"]
    assert one.endswith("PUBACK 0x87 Not authorized")
    assert other.split()[:4] == [str(second), "device", "device", "k3v9x0q2ma"]
    printed("retry", str(first.id))
    printed("drop", str(second))
    assert printed("list") == ""
    session.expire_all()
    assert (first.parked_at, first.attempts) == (None, 0)
    assert len(session.scalars(select(Outbox)).all()) == 2
    assert audited(session) == [
        ("outbox.retried", str(first.id), "system"),
        ("outbox.dropped", str(second), "system"),
    ]
    refused = processes.start("outbox", "drop", str(second))
    assert refused.wait() == 1
    assert f"No such dead-lettered row: {second}" in refused.output()


def test_retrying_a_row_that_is_not_dead_lettered_changes_none(session: Session, acme: Company) -> None:
    row, waiting = park(session, acme).id, park(session, acme)
    waiting.parked_at = None
    session.commit()
    for do in (dead_letters.retry, dead_letters.drop):
        with pytest.raises(NotFound, match=str(waiting.id)):
            do(session, [row, waiting.id])
        session.rollback()
    assert [kept.id for kept in dead_letters.rows(session)] == [row]


def test_a_status_is_not_retried_once_a_newer_one_was_announced(session: Session, acme: Company) -> None:
    fact = of_status(session, acme)
    newest = park(session, acme, "status", **fact)
    older = park(session, acme, "status", **fact | {"checkpoint": fact["checkpoint"] - 1})
    with pytest.raises(Conflict, match=f"Row {older.id}"):
        dead_letters.retry(session, [newest.id, older.id])
    session.rollback()
    dead_letters.retry(session, [newest.id])
    assert [row.id for row in dead_letters.rows(session)] == [older.id]


def test_a_malformed_row_of_no_company_can_be_dropped(session: Session) -> None:
    dead_letters.drop(session, [park(session, None, "nonsense").id])
    assert dead_letters.rows(session) == []
