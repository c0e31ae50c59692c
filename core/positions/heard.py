"""Record when each device was last heard from."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from sqlalchemy import ARRAY, Text, any_, literal, select, update
from sqlalchemy.orm import Session

from core.models.fleet import Device

NOTED_EVERY = timedelta(minutes=1)


def heard(session: Session, devices: Mapping[str, datetime | None], now: datetime) -> None:
    """Set ``last_heard_at`` of the devices whose recorded time is None or at least `NOTED_EVERY` old.

    ``devices`` maps each device that has just sent something to its recorded ``last_heard_at``.
    """
    stale = [device for device, at in devices.items() if at is None or at <= now - NOTED_EVERY]
    if not stale:
        return
    # A row locked by another transaction is skipped: the device's next message updates it.
    free = (
        select(Device.id)
        .where(Device.id == any_(literal(stale, ARRAY(Text))))
        .with_for_update(key_share=True, skip_locked=True)
    )
    session.execute(
        update(Device).where(Device.id.in_(free)).values(last_heard_at=now),
        execution_options={"synchronize_session": False},
    )
