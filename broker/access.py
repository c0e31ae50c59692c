"""Access control on the broker: roles as data, and the users that the database calls for.

Mosquitto's dynamic-security plugin decides by the first entry that matches, highest priority first. Where
none matches, it defers to ``acl_file``, which grants every SUBSCRIBE; so every role ends with a denial of all
subscriptions. A device's publishing and receiving is left to ``acl_file``; all other roles deny the rest.

A device has two roles: its own, consulted first, with the few filters that it may subscribe to, word for word
(under a pattern it could subscribe to any number, all of which the broker keeps), and its shard's.
"""

import enum
from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Row, select
from sqlalchemy.orm import Session

from broker import figures, topics
from core.identities import (
    API_SLOTS,
    PROVISIONER_USER,
    RELAY_USER,
    SHARDS,
    STATUS_USER,
    api_user,
    ingest_user,
    operator_user,
    shard_of,
)
from core.models.company import Company
from core.models.fleet import Device
from core.models.people import AppUser
from core.rules.enums import Role as PersonRole

CONTROL = "$CONTROL/dynamic-security/v1"
CONTROL_RESPONSE = f"{CONTROL}/response"
MQTT_PEOPLE = (PersonRole.OPERATOR, PersonRole.MANAGER)
LAST = -1


class AclType(enum.StrEnum):
    """The plugin's ACL types: it silently ignores any other."""

    SEND = "publishClientSend"
    RECEIVE = "publishClientReceive"
    SUBSCRIBE = "subscribePattern"
    SUBSCRIBE_EXACTLY = "subscribeLiteral"


@dataclass(frozen=True, order=True)
class Acl:
    acltype: str
    topic: str
    allow: bool = True
    priority: int = 0


@dataclass(frozen=True)
class BrokerRole:
    name: str
    acls: frozenset[Acl]


@dataclass(frozen=True)
class User:
    """A broker user. ``version`` is that of the secret (`core.identities.mqtt_secret`).

    The broker consults several roles in their order.
    """

    name: str
    roles: tuple[str, ...]
    version: int = 1
    disabled: bool = False


def device_role_name(shard: str) -> str:
    return f"device-{shard}"


def device_own_role_name(device_id: str) -> str:
    return f"down-{device_id}"


def device_own_role(device_id: str) -> BrokerRole:
    """Return the role that grants one device its subscriptions."""
    grants = (Acl(AclType.SUBSCRIBE_EXACTLY, filter) for filter in topics.own_down(device_id))
    return BrokerRole(device_own_role_name(device_id), frozenset(grants))


def company_role_name(slug: str) -> str:
    return f"company-{slug}"


def company_role(slug: str) -> BrokerRole:
    """Return the role of a company's MQTT clients: all facts of the company, and no other tenant's."""
    return _closed(company_role_name(slug), *_reads(topics.company_filter(slug)))


def _closed(name: str, *grants: Acl) -> BrokerRole:
    denials = (
        Acl(acltype, "#", allow=False, priority=LAST)
        for acltype in (AclType.SUBSCRIBE, AclType.SEND, AclType.RECEIVE)
    )
    return BrokerRole(name, frozenset((*grants, *denials)))


def _reads(filter: str) -> tuple[Acl, Acl]:
    return Acl(AclType.SUBSCRIBE, filter), Acl(AclType.RECEIVE, filter)


def _writes(*filters: str) -> tuple[Acl, ...]:
    return tuple(Acl(AclType.SEND, filter) for filter in filters)


def _device_role(shard: str) -> BrokerRole:
    """Return a shard's role for devices: it denies publishing to other shards."""
    # Not closed: a denial of all the rest would override what ``acl_file`` grants a device.
    others = (Acl(AclType.SEND, f"up/{other}/#", allow=False) for other in SHARDS if other != shard)
    return BrokerRole(
        device_role_name(shard),
        frozenset((*others, Acl(AclType.SUBSCRIBE, "#", allow=False, priority=LAST))),
    )


def _ingest_role(shard: str) -> BrokerRole:
    return _closed(
        ingest_user(shard),
        Acl(AclType.SUBSCRIBE_EXACTLY, topics.shard_filter(shard)),
        Acl(AclType.RECEIVE, topics.shard_filter(shard)),
        # Its own filter too, to clear the retained messages of devices.
        *_writes(topics.ALL_FACTS, topics.ALL_DOWN, topics.shard_filter(shard)),
    )


def _reads_figures() -> tuple[Acl, ...]:
    """Grant the broker's figures topic by topic: `$SYS` offers more than a process needs to know."""
    return tuple(
        Acl(acltype, topic)
        for topic in figures.TOPICS
        for acltype in (AclType.SUBSCRIBE_EXACTLY, AclType.RECEIVE)
    )


SERVICE_ROLES: tuple[BrokerRole, ...] = (
    *map(_device_role, SHARDS),
    *map(_ingest_role, SHARDS),
    _closed("api", *_reads(topics.ALL_FACTS), *_writes(topics.ALL_FACTS), *_reads_figures()),
    _closed("relay", *_writes(topics.ALL_FACTS, topics.ALL_DOWN)),
    _closed("provisioner", *_reads(CONTROL_RESPONSE), *_writes(CONTROL)),
    _closed("status", *_reads_figures(), *_writes(figures.STIRRER)),
)

SERVICE_USERS: tuple[User, ...] = (
    *(User(ingest_user(shard), (ingest_user(shard),)) for shard in SHARDS),
    *(User(api_user(slot), ("api",)) for slot in range(API_SLOTS)),
    User(RELAY_USER, ("relay",)),
    User(PROVISIONER_USER, ("provisioner",)),
    User(STATUS_USER, ("status",)),
)


def roles(session: Session) -> Iterator[BrokerRole]:
    """Yield every role that must exist: ours, one per company, one per device."""
    yield from SERVICE_ROLES
    for slug in session.scalars(select(Company.slug).order_by(Company.id)):
        yield company_role(slug)
    devices = select(Device.id).order_by(Device.id)
    for device_id in session.scalars(devices, execution_options={"yield_per": 1000}):
        yield device_own_role(device_id)


def users(session: Session) -> Iterator[User]:
    """Yield every user that must exist: our services, all devices, all operators and managers."""
    yield from SERVICE_USERS
    for device in session.execute(_DEVICES, execution_options={"yield_per": 1000}):
        yield _device_user(device)
    for person in session.execute(_PEOPLE, execution_options={"yield_per": 1000}):
        yield _person_user(person)


def device_user(session: Session, device_id: str) -> User | None:
    """Return a device's present broker user, or ``None`` if there is no such device."""
    row = session.execute(_DEVICES.where(Device.id == device_id)).one_or_none()
    return _device_user(row) if row else None


def person_user(session: Session, user_id: int) -> User | None:
    """Return a person's present broker user, or ``None`` for a person without an MQTT login."""
    row = session.execute(_PEOPLE.where(AppUser.id == user_id)).one_or_none()
    return _person_user(row) if row else None


def company_slug(session: Session, company_id: int) -> str | None:
    return session.scalar(select(Company.slug).where(Company.id == company_id))


_DEVICES = select(Device.id, Device.secret_version, Device.disabled_at.is_not(None)).order_by(Device.id)
_PEOPLE = (
    select(AppUser.id, AppUser.mqtt_secret_version, AppUser.disabled_at.is_not(None), Company.slug)
    .join(Company, Company.id == AppUser.company_id)
    .where(AppUser.role.in_(MQTT_PEOPLE))
    .order_by(AppUser.id)
)


def _device_user(row: Row[str, int, bool]) -> User:
    name, version, disabled = row
    roles = device_own_role_name(name), device_role_name(shard_of(name))
    return User(name, roles, version, disabled)


def _person_user(row: Row[int, int, bool, str]) -> User:
    user_id, version, disabled, slug = row
    return User(operator_user(user_id), (company_role_name(slug),), version, disabled)
