"""The logins that the broker must accept: of devices, and of the users with an MQTT role."""

from collections.abc import Iterator
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.accounts.mqtt_logins import MQTT_ROLES
from core.models.company import Company
from core.models.fleet import Device
from core.models.people import AppUser

_IN_PORTIONS = {"yield_per": 1000}


class DeviceLogin(NamedTuple):
    device_id: str
    secret_version: int
    is_disabled: bool


class UserLogin(NamedTuple):
    user_id: int
    secret_version: int
    is_disabled: bool
    company_slug: str


_DEVICES = select(Device.id, Device.secret_version, Device.disabled_at.is_not(None)).order_by(Device.id)
_USERS = (
    select(AppUser.id, AppUser.mqtt_secret_version, AppUser.disabled_at.is_not(None), Company.slug)
    .join(Company, Company.id == AppUser.company_id)
    .where(AppUser.role.in_(MQTT_ROLES))
    .order_by(AppUser.id)
)


def read_company_slugs(session: Session) -> Iterator[str]:
    """Yield the slug of every company."""
    yield from session.scalars(select(Company.slug).order_by(Company.id))


def find_company_slug(session: Session, company_id: int) -> str | None:
    return session.scalar(select(Company.slug).where(Company.id == company_id))


def read_device_logins(session: Session) -> Iterator[DeviceLogin]:
    """Yield the login of every device, disabled ones included."""
    for row in session.execute(_DEVICES, execution_options=_IN_PORTIONS):
        yield DeviceLogin(*row)


def find_device_login(session: Session, device_id: str) -> DeviceLogin | None:
    row = session.execute(_DEVICES.where(Device.id == device_id)).one_or_none()
    return DeviceLogin(*row) if row else None


def read_user_logins(session: Session) -> Iterator[UserLogin]:
    """Yield the login of every user with an MQTT role, disabled ones included."""
    for row in session.execute(_USERS, execution_options=_IN_PORTIONS):
        yield UserLogin(*row)


def find_user_login(session: Session, user_id: int) -> UserLogin | None:
    """Return a user's login; None for a user without an MQTT role."""
    row = session.execute(_USERS.where(AppUser.id == user_id)).one_or_none()
    return UserLogin(*row) if row else None
