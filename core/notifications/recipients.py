"""The people that e-mails are owed to, as they are now: an address was corrected, a manager locked out."""

from datetime import datetime

from sqlalchemy import update
from sqlalchemy.orm import Session

from core.errors import Conflict
from core.models.notification import Notification
from core.models.people import AppUser, Customer
from core.notifications.kinds import Audience
from core.notifications.queue import State


def present_address(session: Session, row: Notification) -> str | None:
    """Where the addressee gets e-mail today. Raises `Conflict` for one who is not to be told any more."""
    addressee_id = int(row.addressee.partition(":")[2])
    if row.audience == Audience.MANAGER:
        user = session.get(AppUser, addressee_id)
        if user is not None and user.disabled_at is not None:
            raise Conflict("The recipient is disabled.")
        return user.email if user is not None else row.recipient
    customer = session.get(Customer, addressee_id)
    if customer is not None and not customer.email:
        raise Conflict("The recipient has no e-mail address any more.")
    return customer.email if customer is not None else row.recipient


def withdraw(session: Session, user: AppUser, now: datetime) -> None:
    """Whoever is locked out is told nothing more, not even what is queued already."""
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
