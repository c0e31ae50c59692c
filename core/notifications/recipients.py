"""The present state of e-mail recipients, whose address may have been corrected or whose user disabled."""

from datetime import datetime

from sqlalchemy import update
from sqlalchemy.orm import Session

from core.errors import Conflict
from core.models.notification import Notification
from core.models.people import AppUser, Customer
from core.notifications.kinds import Audience, State


def present_address(session: Session, row: Notification) -> str | None:
    """Return the recipient's present e-mail address. Raises `Conflict` if disabled or without an address."""
    recipient_id = int(row.addressee.partition(":")[2])
    if row.audience == Audience.MANAGER:
        user = session.get(AppUser, recipient_id)
        if user is not None and user.disabled_at is not None:
            raise Conflict("The recipient is disabled.")
        return user.email if user is not None else row.recipient
    customer = session.get(Customer, recipient_id)
    if customer is not None and not customer.email:
        raise Conflict("The recipient has no e-mail address any more.")
    return customer.email if customer is not None else row.recipient


def withdraw(session: Session, user: AppUser, now: datetime) -> None:
    """Cancel the e-mails queued for a user who is being disabled."""
    session.execute(
        update(Notification)
        .where(
            Notification.company_id == user.company_id,
            Notification.webhook_id.is_(None),
            Notification.state == State.QUEUED,
            Notification.addressee == f"user:{user.id}",
        )
        .values(state=State.FAILED, finished_at=now, error="the recipient was disabled")
        .execution_options(synchronize_session=False)
    )
