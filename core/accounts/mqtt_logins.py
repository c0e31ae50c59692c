"""The MQTT logins of managers and operators."""

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from core.access.actors import Actor
from core.errors import Forbidden
from core.identities import mqtt_secret, operator_user
from core.models.people import AppUser
from core.records import audit, outbox
from core.rules.enums import Role

MQTT_ROLES = frozenset({Role.OPERATOR, Role.MANAGER})


class MqttLogin(msgspec.Struct, frozen=True):
    """A user's own login on the broker; the secret is derived from the MQTT key, not from the password."""

    user_name: str
    secret: str
    company: str


def mqtt_login(session: Session, actor: Actor, mqtt_key: str) -> MqttLogin:
    """Return the acting user's broker login. Raises `Forbidden` for drivers and customers, who have none."""
    user = _mqtt_person(session, actor)
    return _mqtt_login(user, actor, mqtt_key)


def rotate_mqtt_secret(session: Session, actor: Actor, mqtt_key: str) -> MqttLogin:
    """Make a new secret; the broker refuses the old one as soon as the jobs process has synced it."""
    user = _mqtt_person(session, actor)
    user.mqtt_secret_version += 1
    audit.note(session, actor, "mqtt_secret_rotated", user)
    sync_with_broker(session, user)
    return _mqtt_login(user, actor, mqtt_key)


def _mqtt_person(session: Session, actor: Actor) -> AppUser:
    if actor.role not in MQTT_ROLES:
        raise Forbidden("Only managers and operators have an MQTT login.")
    return session.scalars(
        select(AppUser).where(AppUser.id == actor.user_id).with_for_update(key_share=True)
    ).one()


def _mqtt_login(user: AppUser, actor: Actor, mqtt_key: str) -> MqttLogin:
    name = operator_user(user.id)
    return MqttLogin(name, mqtt_secret(mqtt_key, name, user.mqtt_secret_version), actor.company_slug)


def sync_with_broker(session: Session, user: AppUser) -> None:
    if user.role in MQTT_ROLES:
        outbox.sync_access(session, outbox.OutboxKind.OPERATOR, user.company_id, user.id)
