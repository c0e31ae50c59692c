"""The company's simulated vans, found by name and created when missing; and any device's login."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from broker.connection import BrokerLogin, login
from core.access import system_actors
from core.access.actors import Actor
from core.fleet import devices, vehicles
from core.fleet.devices import NewDevice
from core.fleet.vehicles import NewVehicle
from core.identities import mqtt_secret
from core.models.fleet import Device, Vehicle
from core.settings import Settings

NAME = "Simulated {:03}"


class UnitIdentity(msgspec.Struct, frozen=True):
    """A GPS unit as the broker knows it."""

    device_id: str
    secret_version: int


def simulated_units(session: Session, company: str, count: int) -> tuple[list[UnitIdentity], int]:
    """Return ``count`` simulated vans' units, and how many of them are new; the caller commits.

    Raises `core.errors.NotFound` without the company.
    """
    actor = system_actors.system_actor(session, company)
    names = [NAME.format(number) for number in range(1, count + 1)]
    known = _known_units(session, actor, names)
    units = [known.get(name) or _add(session, actor, name) for name in names]
    return units, count - len(known)


def logins(settings: Settings, units: Iterable[UnitIdentity]) -> list[BrokerLogin]:
    """Return the units' logins; the CA file is read once for all."""
    key = settings.mqtt_key.get_secret_value()
    anyone = login(settings, "anyone")
    return [
        replace(
            anyone,
            user_name=unit.device_id,
            secret=mqtt_secret(key, unit.device_id, unit.secret_version),
        )
        for unit in units
    ]


def _known_units(session: Session, actor: Actor, names: Sequence[str]) -> dict[str, UnitIdentity]:
    rows = session.execute(
        select(Vehicle.name, Device.id, Device.secret_version)
        .join(Device, Device.vehicle_id == Vehicle.id)
        .where(
            Vehicle.company_id == actor.company_id,
            Vehicle.name.in_(names),
            Vehicle.archived_at.is_(None),
            Device.label == Vehicle.name,
            Device.disabled_at.is_(None),
        )
    )
    return {name: UnitIdentity(device_id, version) for name, device_id, version in rows}


def _add(session: Session, actor: Actor, name: str) -> UnitIdentity:
    vehicle = vehicles.add(session, actor, NewVehicle(name=name))
    device = devices.add(session, actor, NewDevice(label=name, vehicle_id=vehicle.id))
    return UnitIdentity(device.id, device.secret_version)
