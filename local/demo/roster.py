"""The demo's staff and vans as the database has them now, without the renamed and archived ones."""

from collections.abc import Sequence

import msgspec
from sqlalchemy import ColumnElement, select, text
from sqlalchemy.orm import Session

from core.access import system_actors
from core.access.actors import Actor
from core.models.company import Company
from core.models.fleet import Device, Vehicle
from core.models.people import AppUser, Driver
from core.rules.enums import Role
from local.demo import cast
from local.simulator.fleet import UnitIdentity


class RosterMember(msgspec.Struct, frozen=True):
    """A crew with its ids. ``unit`` and ``phone`` are devices that may connect; ``last`` is in degrees."""

    crew: cast.Crew
    email: str
    actor: Actor
    driver_id: int
    vehicle_id: int
    unit: UnitIdentity | None
    phone: UnitIdentity | None
    last: tuple[float, float] | None
    odometer_m: float | None


class Recipient(msgspec.Struct, frozen=True):
    """A customer with its id; ``number`` counts from 1, as in its login."""

    number: int
    customer_id: int
    shop: cast.Shop


class Roster(msgspec.Struct, frozen=True):
    """``members`` drive; ``walk`` does not."""

    manager: Actor
    members: Sequence[RosterMember]
    walk: RosterMember | None
    recipients: Sequence[Recipient]


def read_roster(session: Session) -> Roster:
    """Read the roster. Raises `core.errors.NotFound` without the demo company."""
    manager = system_actors.system_actor(session, cast.SLUG)
    people = {
        user.email: user
        for user in session.scalars(
            select(AppUser)
            .join(Company, Company.id == AppUser.company_id)
            .where(Company.slug == cast.SLUG, AppUser.disabled_at.is_(None))
        )
    }
    members = [
        _member(session, people.get(cast.driver_email(number)), crew)
        for number, crew in enumerate((*cast.CREWS, cast.WALK), start=1)
    ]
    return Roster(manager, [member for member in members[:-1] if member], members[-1], _recipients(people))


def _recipients(people: dict[str, AppUser]) -> list[Recipient]:
    found = []
    for number, shop in enumerate(cast.SHOPS, start=1):
        user = people.get(cast.customer_email(number))
        if user is not None and user.customer_id is not None:
            found.append(Recipient(number, user.customer_id, shop))
    return found


def _member(session: Session, user: AppUser | None, crew: cast.Crew) -> RosterMember | None:
    if user is None or user.driver_id is None or session.get_one(Driver, user.driver_id).archived_at:
        return None
    vehicle = _vehicle(session, user.company_id, crew.van)
    if vehicle is None:
        return None
    return RosterMember(
        crew=crew,
        email=user.email,
        actor=Actor(
            company_id=user.company_id,
            company_slug=cast.SLUG,
            role=Role.DRIVER,
            user_id=user.id,
            driver_id=user.driver_id,
        ),
        driver_id=user.driver_id,
        vehicle_id=vehicle.id,
        unit=_unit(session, Device.vehicle_id == vehicle.id),
        phone=_unit(session, Device.driver_id == user.driver_id),
        last=_last(vehicle),
        odometer_m=_odometer_m(session, vehicle),
    )


def _vehicle(session: Session, company_id: int, name: str) -> Vehicle | None:
    return session.scalar(
        select(Vehicle)
        .where(Vehicle.company_id == company_id, Vehicle.name == name, Vehicle.archived_at.is_(None))
        .order_by(Vehicle.id)
        .limit(1)
    )


def _unit(session: Session, binding: ColumnElement[bool]) -> UnitIdentity | None:
    """Return the oldest device of that binding."""
    row = session.execute(
        select(Device.id, Device.secret_version)
        .where(binding, Device.disabled_at.is_(None))
        .order_by(Device.created_at, Device.id)
        .limit(1)
    ).one_or_none()
    return UnitIdentity(*row) if row else None


def _last(vehicle: Vehicle) -> tuple[float, float] | None:
    if vehicle.position_latitude is None or vehicle.position_longitude is None:
        return None
    return vehicle.position_latitude, vehicle.position_longitude


def _odometer_m(session: Session, vehicle: Vehicle) -> float | None:
    """Return the odometer of the newest position, from which the demo continues to count."""
    odometer_m: float | None = session.scalar(
        text("SELECT odometer_m FROM position WHERE vehicle_id = :vehicle AND fix_time = :time LIMIT 1"),
        {"vehicle": vehicle.id, "time": vehicle.position_time},
    )
    return odometer_m
