"""A claim leases one notification and records its attempt in the same statement."""

from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker

from core.models.company import Company
from core.models.notification import Webhook
from core.notifications import claims
from core.notifications.claims import INTERRUPTED, LEASE, CalledEndpoint
from tests.support import factories


@pytest.fixture
def company(session: Session) -> Company:
    return factories.company(session)


@pytest.fixture
def hook(session: Session, company: Company) -> Webhook:
    return factories.webhook(session, company)


def attempts_made(session: Session) -> list[tuple[Any, ...]]:
    rows = session.execute(text("SELECT number, error FROM notification_attempt ORDER BY number"))
    return [tuple(row) for row in rows]


def test_claim_returns_the_attempt_and_its_endpoint(
    session: Session, company: Company, hook: Webhook
) -> None:
    row = factories.notification(session, company, webhook_id=hook.id)
    now = datetime.now(UTC)
    call = claims.claim_call(session, hook.id, now)
    assert call is not None
    assert (call.claimed.sequence, call.claimed.number, call.claimed.payload) == (row.id, 1, row.payload)
    assert call.endpoint == CalledEndpoint(
        id=hook.id, url=hook.url, company=company.slug, secret_version=1, previous_secret_until=None
    )
    session.refresh(row)
    assert (row.attempts, row.next_attempt_at) == (1, now + LEASE)
    assert attempts_made(session) == [(1, None)]


def test_call_is_claimed_by_one_sender_only(
    session: Session, sessions: sessionmaker[Session], company: Company, hook: Webhook
) -> None:
    factories.notification(session, company, webhook_id=hook.id)
    session.commit()
    now = datetime.now(UTC)
    assert claims.claim_call(session, hook.id, now) is not None
    with sessions() as other:
        assert claims.claim_call(other, hook.id, now) is None  # while the claim is uncommitted
        session.commit()
        assert claims.claim_call(other, hook.id, now) is None  # while it is leased


@pytest.mark.parametrize("is_call", [True, False])
def test_claim_after_a_lease_marks_the_interrupted_attempt(
    session: Session, company: Company, hook: Webhook, *, is_call: bool
) -> None:
    factories.notification(session, company, **({"webhook_id": hook.id} if is_call else {}))
    now = datetime.now(UTC)

    def claim(at: datetime) -> int | None:
        if is_call:
            call = claims.claim_call(session, hook.id, at)
            return call.claimed.number if call is not None else None
        mail = claims.claim_mail(session, at, after_company=0)
        return mail.number if mail is not None else None

    assert [claim(now), claim(now), claim(now + LEASE)] == [1, None, 2]
    assert attempts_made(session) == [(1, INTERRUPTED), (2, None)]


def test_no_mail_is_claimed_from_a_company_without_any(session: Session, company: Company) -> None:
    now = datetime.now(UTC)
    assert claims.claim_mail(session, now, after_company=0) is None
    factories.notification(session, company)
    mail = claims.claim_mail(session, now + LEASE, after_company=company.id)
    assert mail is not None
    assert mail.company_id == company.id
