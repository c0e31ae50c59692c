"""Messages owed to people, queued in the transaction of what they tell; sending them is a job's work."""

from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from core.models import Customer, Delivery, DeliveryCheckpoint, Notification

WORTH_TELLING = timedelta(days=1)


def queue_status_change(
    session: Session, delivery: Delivery, checkpoint: DeliveryCheckpoint, now: datetime
) -> None:
    """One e-mail to the customer, when it has an address. It expires: old news is not sent."""
    customer = session.get_one(Customer, delivery.customer_id)
    if not customer.email:
        return
    session.add(
        Notification(
            company_id=delivery.company_id,
            delivery_id=delivery.id,
            checkpoint_id=checkpoint.id,
            recipient=customer.email,
            payload={"kind": "status", "status": delivery.status.value},
            created_at=now,
            expires_at=now + WORTH_TELLING,
        )
    )
