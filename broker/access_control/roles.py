"""Access control on the broker: roles as data, and users as values made from the database's logins.

Mosquitto's dynamic-security plugin decides by the first entry that matches, highest priority first. Where
none matches, it defers to ``acl_file``, which grants every SUBSCRIBE; so every role ends with a denial of all
subscriptions. A device's publishing and receiving is left to ``acl_file``; all other roles deny the rest.

A device has two roles: its own, consulted first, with the few filters that it may subscribe to, word for word
(under a pattern it could subscribe to any number, all of which the broker keeps), and its shard's.
"""

import enum
from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy.orm import Session

from broker import figures, topics
from core.accounts import broker_logins
from core.accounts.broker_logins import DeviceLogin, UserLogin
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

CONTROL = "$CONTROL/dynamic-security/v1"
CONTROL_RESPONSE = f"{CONTROL}/response"
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
    return _closed(company_role_name(slug), *_grant_reading(topics.company_filter(slug)))


def _closed(name: str, *grants: Acl) -> BrokerRole:
    denials = (
        Acl(acltype, "#", allow=False, priority=LAST)
        for acltype in (AclType.SUBSCRIBE, AclType.SEND, AclType.RECEIVE)
    )
    return BrokerRole(name, frozenset((*grants, *denials)))


def _grant_reading(filter: str) -> tuple[Acl, Acl]:
    return Acl(AclType.SUBSCRIBE, filter), Acl(AclType.RECEIVE, filter)


def _grant_writing(*filters: str) -> tuple[Acl, ...]:
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
        *_grant_writing(topics.ALL_FACTS, topics.ALL_DOWN, topics.shard_filter(shard)),
    )


def _grant_figures() -> tuple[Acl, ...]:
    """Grant the broker's figures topic by topic: `$SYS` offers more than a process needs to know."""
    return tuple(
        Acl(acltype, topic)
        for topic in figures.TOPICS
        for acltype in (AclType.SUBSCRIBE_EXACTLY, AclType.RECEIVE)
    )


SERVICE_ROLES: tuple[BrokerRole, ...] = (
    *map(_device_role, SHARDS),
    *map(_ingest_role, SHARDS),
    _closed("api", *_grant_reading(topics.ALL_FACTS), *_grant_writing(topics.ALL_FACTS), *_grant_figures()),
    _closed("relay", *_grant_writing(topics.ALL_FACTS, topics.ALL_DOWN)),
    _closed("provisioner", *_grant_reading(CONTROL_RESPONSE), *_grant_writing(CONTROL)),
    _closed("status", *_grant_figures(), *_grant_writing(figures.UPDATE_TRIGGER)),
)

SERVICE_USERS: tuple[User, ...] = (
    *(User(ingest_user(shard), (ingest_user(shard),)) for shard in SHARDS),
    *(User(api_user(slot), ("api",)) for slot in range(API_SLOTS)),
    User(RELAY_USER, ("relay",)),
    User(PROVISIONER_USER, ("provisioner",)),
    User(STATUS_USER, ("status",)),
)


def wanted_roles(session: Session) -> Iterator[BrokerRole]:
    """Yield every role that must exist: ours, one per company, one per device."""
    yield from SERVICE_ROLES
    yield from map(company_role, broker_logins.read_company_slugs(session))
    for login in broker_logins.read_device_logins(session):
        yield device_own_role(login.device_id)


def wanted_users(session: Session) -> Iterator[User]:
    """Yield every user that must exist: our services, all devices, all operators and managers."""
    yield from SERVICE_USERS
    yield from map(device_user, broker_logins.read_device_logins(session))
    yield from map(person_user, broker_logins.read_user_logins(session))


def device_user(login: DeviceLogin) -> User:
    roles = device_own_role_name(login.device_id), device_role_name(shard_of(login.device_id))
    return User(login.device_id, roles, login.secret_version, login.is_disabled)


def person_user(login: UserLogin) -> User:
    roles = (company_role_name(login.company_slug),)
    return User(operator_user(login.user_id), roles, login.secret_version, login.is_disabled)
