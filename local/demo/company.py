"""The demo company in the database: created once, completed at every start. Needs neither broker nor API."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import TypeVar

from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from core.access import system_actors
from core.access.actors import Actor
from core.accounts import access, companies, passwords, users
from core.accounts.companies import NewCompany
from core.accounts.users import NewUser
from core.errors import Conflict, NotFound
from core.fleet import customers, devices, drivers, vehicles
from core.fleet.customers import NewCustomer
from core.fleet.devices import NewDevice
from core.fleet.drivers import NewDriver
from core.fleet.vehicles import NewVehicle
from core.identities import mqtt_secret, operator_user
from core.models.fleet import Device, Vehicle
from core.models.people import AppUser, Customer, Driver
from core.rules.enums import Role
from local.demo import cast, history
from local.demo.roster import read_roster

Named = TypeVar("Named", Customer, Driver, Vehicle)


def prepare(sessions: sessionmaker[Session], password: str, _mqtt_key: str = "") -> None:
    """Create whatever is missing and set every demo login to ``password``. Idempotent; removes nothing."""
    password_hash = passwords.hash_password(password)
    with sessions.begin() as session:
        actor = _company(session, password_hash)
        _people(session, actor, password_hash)
        _devices(session, actor)
    with sessions.begin() as session:
        _set_passwords(session, actor, password, password_hash)
    with sessions.begin() as session:
        roster, now = read_roster(session), datetime.now(UTC)
        history.write(session, roster, now)
        history.keep_walk_under_way(session, roster, now)


def operator_login(session: Session, mqtt_key: str) -> tuple[str, str]:
    """Return the operator's own MQTT user name and secret. Raises `NotFound` before `prepare`."""
    row = session.execute(
        select(AppUser.id, AppUser.mqtt_secret_version).where(AppUser.email == cast.OPERATOR[0])
    ).one_or_none()
    if row is None:
        raise NotFound("demo operator")
    user_name = operator_user(row.id)
    return user_name, mqtt_secret(mqtt_key, user_name, row.mqtt_secret_version)


def _company(session: Session, password_hash: str) -> Actor:
    try:
        return system_actors.system_actor(session, cast.SLUG)
    except NotFound:
        email, name = cast.MANAGER
        new = NewCompany(
            slug=cast.SLUG,
            name=cast.NAME,
            time_zone=cast.TIME_ZONE,
            manager_email=email,
            manager_name=name,
        )
        companies.add(session, new, password_hash)
        return system_actors.system_actor(session, cast.SLUG)


def _people(session: Session, actor: Actor, password_hash: str) -> None:
    known = set(session.scalars(select(AppUser.email).where(AppUser.company_id == actor.company_id)))

    def add(email: str, name: str, role: Role, **person: int) -> None:
        if email not in known:
            # A user may have changed the e-mail of the driver's user: then that is the login.
            with suppress(Conflict):
                new = NewUser(email=email, name=name, role=role, **person)
                users.add(session, actor, new, password_hash)

    add(*cast.MANAGER, Role.MANAGER)
    add(*cast.OPERATOR, Role.OPERATOR)
    for number, driver in enumerate(_drivers(session, actor), start=1):
        add(cast.driver_email(number), driver.name, Role.DRIVER, driver_id=driver.id)
    for number, customer in enumerate(_customers(session, actor), start=1):
        add(cast.customer_email(number), customer.name, Role.CUSTOMER, customer_id=customer.id)


def _drivers(session: Session, actor: Actor) -> list[Driver]:
    known = _by_name(session, actor, Driver)
    return [
        known.get(crew.driver)
        or drivers.add(
            session,
            actor,
            NewDriver(name=crew.driver, phone=crew.driver_phone, licence_number=crew.licence),
        )
        for crew in _crews()
    ]


def _customers(session: Session, actor: Actor) -> list[Customer]:
    known = _by_name(session, actor, Customer)
    return [
        known.get(shop.name)
        or customers.add(
            session,
            actor,
            NewCustomer(
                name=shop.name,
                email=cast.customer_email(number),
                phone=shop.phone,
                address=shop.place.address,
            ),
        )
        for number, shop in enumerate(cast.SHOPS, start=1)
    ]


def _devices(session: Session, actor: Actor) -> None:
    """Create the vans' units, and the phones of the drivers who have one."""
    labels = set(session.scalars(select(Device.label).where(Device.company_id == actor.company_id)))
    driver_ids = {name: driver.id for name, driver in _by_name(session, actor, Driver).items()}
    vans = _by_name(session, actor, Vehicle)
    for crew in _crews():
        van = vans.get(crew.van) or vehicles.add(session, actor, NewVehicle(name=crew.van, plate=crew.plate))
        unit_label = cast.WALK_UNIT if crew is cast.WALK else crew.unit_label
        if unit_label not in labels:
            devices.add(session, actor, NewDevice(label=unit_label, vehicle_id=van.id))
        if crew.phone and crew.phone_label not in labels:
            phone = NewDevice(label=crew.phone_label, driver_id=driver_ids[crew.driver])
            devices.add(session, actor, phone)


def _set_passwords(session: Session, actor: Actor, password: str, password_hash: str) -> None:
    """Set the passwords that differ: setting one revokes the person's tokens."""
    right: dict[str, bool] = {password_hash: True}
    for user in session.scalars(select(AppUser).where(AppUser.email.in_(_emails()))):
        known_hash = user.password_hash or ""
        if known_hash not in right:
            right[known_hash] = passwords.is_right(known_hash, password)
        if not right[known_hash]:
            access.set_password(session, actor, user.id, password_hash, datetime.now(UTC))


def _emails() -> list[str]:
    numbered = [cast.driver_email(number) for number in range(1, len(_crews()) + 1)]
    numbered += [cast.customer_email(number) for number in range(1, len(cast.SHOPS) + 1)]
    return [cast.MANAGER[0], cast.OPERATOR[0], *numbered]


def _crews() -> Sequence[cast.Crew]:
    return (*cast.CREWS, cast.WALK)


def _by_name(session: Session, actor: Actor, model: type[Named]) -> Mapping[str, Named]:
    """Return the company's rows by name; of two with one name the older."""
    rows = session.scalars(
        select(model).where(model.company_id == actor.company_id).order_by(model.id.desc())
    )
    return {row.name: row for row in rows}
