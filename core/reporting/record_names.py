"""Names of the users, drivers, vehicles, devices and tokens in a delivery's history, for printed reports."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from core.models.account import ApiToken
from core.models.delivery import DeliveryCheckpoint
from core.models.fleet import Device, Vehicle
from core.models.people import AppUser, Driver


class Names(msgspec.Struct, frozen=True):
    """Names by id. They are of the company's own staff, so all are empty for customers."""

    users: Mapping[int, str] = {}
    drivers: Mapping[int, str] = {}
    vehicles: Mapping[int, str] = {}
    devices: Mapping[str, str] = {}
    tokens: Mapping[int, str] = {}


def read(session: Session, record: Sequence[DeliveryCheckpoint]) -> Names:
    """Read the names with one query per kind. The caller has checked that the actor may see them."""
    drivers = [id for one in record for id in (one.driver_id, one.actor_driver_id)]
    vehicles = session.execute(
        select(Vehicle.id, Vehicle.name, Vehicle.plate).where(
            Vehicle.id.in_(_present(one.vehicle_id for one in record))
        )
    )
    return Names(
        users=_pairs(session, AppUser, AppUser.name, (one.actor_user_id for one in record)),
        drivers=_pairs(session, Driver, Driver.name, drivers),
        vehicles={row.id: vehicle_name(row.name, row.plate) for row in vehicles},
        devices=_pairs(session, Device, Device.label, (one.actor_device_id for one in record)),
        tokens=_pairs(session, ApiToken, ApiToken.name, (one.actor_api_token_id for one in record)),
    )


def vehicle_name(name: str, plate: str | None) -> str:
    return f"{name} ({plate})" if plate and plate not in name else name


def _pairs(session: Session, model: type[Any], name: Any, ids: Iterable[Any]) -> dict[Any, str]:
    rows = session.execute(select(model.id, name).where(model.id.in_(_present(ids))))
    return {row[0]: row[1] for row in rows}


def _present(ids: Iterable[Any]) -> list[Any]:
    return sorted({id for id in ids if id is not None})
