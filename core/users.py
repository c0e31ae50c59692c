"""People who log in: managers, operators, drivers and customers. The caller commits."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import bindparam, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from core import outbox, scoping
from core.actors import Actor
from core.deliveries import require_reference
from core.errors import Conflict, Forbidden, InvalidValue, NotAuthenticated
from core.identities import mqtt_secret, operator_user
from core.models import AppUser, Company, Customer, Driver, Role

EMAIL = re.compile(r"[^@\s\x00-\x1f]+@[^@\s\x00-\x1f]+")
MAXIMUM_EMAIL = 254
MQTT_ROLES = frozenset({Role.OPERATOR, Role.MANAGER})
# Built once: every request runs it, and building it costs as much as running it.
ACTOR = (
    select(AppUser.company_id, Company.slug, AppUser.role, AppUser.driver_id, AppUser.customer_id)
    .join(Company, Company.id == AppUser.company_id)
    .where(
        AppUser.id == bindparam("user_id"),
        AppUser.token_epoch == bindparam("token_epoch"),
        AppUser.disabled_at.is_(None),
    )
)


class Login(msgspec.Struct, frozen=True):
    """What a log-in is checked against. A disabled user's password is still verified, then refused."""

    user_id: int
    password_hash: str
    token_epoch: int
    is_disabled: bool


class MqttLogin(msgspec.Struct, frozen=True):
    """A person's own user on the broker; the secret is derived and has nothing to do with the password."""

    user_name: str
    secret: str
    company: str


def clean_email(email: str) -> str:
    """Lower case without blanks around it. Raises `InvalidValue`."""
    cleaned = email.strip().lower()
    if len(cleaned) > MAXIMUM_EMAIL or EMAIL.fullmatch(cleaned) is None or not _is_unicode(cleaned):
        raise InvalidValue("email", "must look like name@example.com")
    return cleaned


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def login_of(session: Session, email: str) -> Login | None:
    """The user with this e-mail, in any company; None when there is none."""
    try:
        cleaned = clean_email(email)
    except InvalidValue:
        return None
    row = session.execute(
        select(
            AppUser.id, AppUser.password_hash, AppUser.token_epoch, AppUser.disabled_at.is_not(None)
        ).where(AppUser.email == cleaned)
    ).one_or_none()
    return Login(*row) if row else None


def actor_of(session: Session, user_id: int, token_epoch: int) -> Actor:
    """Who holds a token, in one query. Raises `NotAuthenticated` when disabled, gone or of an older epoch."""
    row = session.execute(ACTOR, {"user_id": user_id, "token_epoch": token_epoch}).one_or_none()
    if row is None:
        raise NotAuthenticated
    return Actor(
        company_id=row.company_id,
        company_slug=row.slug,
        role=row.role,
        user_id=user_id,
        driver_id=row.driver_id,
        customer_id=row.customer_id,
    )


def add(
    session: Session,
    actor: Actor,
    *,
    email: str,
    name: str,
    role: Role,
    password_hash: str,
    driver_id: int | None = None,
    customer_id: int | None = None,
) -> AppUser:
    """A new person. A driver names its driver, a customer its customer, the others neither."""
    scoping.require_manager(actor)
    _check_person(session, actor, role, driver_id, customer_id)
    user = AppUser(
        company_id=actor.company_id,
        email=clean_email(email),
        name=name,
        role=role,
        password_hash=password_hash,
        driver_id=driver_id,
        customer_id=customer_id,
    )
    _insert(session, user)
    _tell_broker(session, user)
    return user


def _insert(session: Session, user: AppUser) -> None:
    """Asked first, so that the usual refusal is no failed statement: the server logs those, hash and all."""
    taken = session.scalar(select(AppUser.id).where(AppUser.email == user.email))
    if taken is not None:
        raise Conflict("That e-mail is in use.", field="email")
    try:
        with session.begin_nested():
            session.add(user)
    except IntegrityError as error:
        if "driver_id" in str(error.orig):
            raise Conflict("That driver has a user already.", field="driver_id") from None
        raise Conflict("That e-mail is in use.", field="email") from None


def _check_person(
    session: Session, actor: Actor, role: Role, driver_id: int | None, customer_id: int | None
) -> None:
    wanted = {Role.DRIVER: "driver_id", Role.CUSTOMER: "customer_id"}.get(role)
    for field, model, row_id in (("driver_id", Driver, driver_id), ("customer_id", Customer, customer_id)):
        if (row_id is not None) != (field == wanted):
            raise InvalidValue(field, f"must be {'given' if field == wanted else 'absent'} for a {role}")
        if row_id is not None:
            require_reference(session, actor, field, model, row_id)


def page(
    session: Session, actor: Actor, *, after: int | None, limit: int, role: Role | None = None
) -> Sequence[AppUser]:
    return scoping.page(session, actor, AppUser, after=after, limit=limit, role=role)


def find(session: Session, actor: Actor, user_id: int) -> AppUser:
    return scoping.find(session, actor, AppUser, user_id)


def me(session: Session, actor: Actor) -> tuple[AppUser, Company]:
    """The person who asks, whatever its role, and its company."""
    return session.get_one(AppUser, actor.user_id), session.get_one(Company, actor.company_id)


def edit(session: Session, actor: Actor, user_id: int, values: Mapping[str, Any]) -> AppUser:
    """Set ``name`` or ``email``: role and company never change."""
    user = scoping.lock(session, actor, AppUser, user_id)
    changes = dict(values)
    if "email" in changes:
        changes["email"] = clean_email(changes["email"])
    try:
        with session.begin_nested():
            for name, value in changes.items():
                setattr(user, name, value)
    except IntegrityError:
        raise Conflict("That e-mail is in use.", field="email") from None
    return user


def disable(session: Session, actor: Actor, user_id: int, now: datetime) -> AppUser:
    """Lock a person out, tokens and MQTT login included. The company's last manager stays."""
    user = scoping.find(session, actor, AppUser, user_id)
    scoping.require_manager(actor)
    # Before the user itself, so that two managers who disable each other at once take the locks in one order.
    managers = _lock_managers(session, actor) if user.role is Role.MANAGER else set()
    user = scoping.lock(session, actor, AppUser, user_id)
    if user.disabled_at is None:
        if managers == {user.id}:
            raise Conflict("A company needs at least one manager.")
        _lock_out(session, user, now)
    return user


def _lock_managers(session: Session, actor: Actor) -> set[int]:
    """The company's managers who are not disabled, locked in id order."""
    query = select(AppUser.id).where(
        scoping.is_ours(actor, AppUser),
        AppUser.role == Role.MANAGER,
        AppUser.disabled_at.is_(None),
    )
    return set(session.scalars(query.order_by(AppUser.id).with_for_update(key_share=True)))


def disable_people_of(session: Session, person: Driver | Customer, now: datetime) -> None:
    """Lock out the users of a driver or customer that is being archived."""
    column = AppUser.driver_id if isinstance(person, Driver) else AppUser.customer_id
    for user in session.scalars(
        select(AppUser)
        .where(column == person.id, AppUser.disabled_at.is_(None))
        .order_by(AppUser.id)
        .with_for_update(key_share=True)
    ):
        _lock_out(session, user, now)


def _lock_out(session: Session, user: AppUser, now: datetime) -> None:
    user.disabled_at = now
    user.token_epoch += 1
    _tell_broker(session, user)


def enable(session: Session, actor: Actor, user_id: int) -> AppUser:
    """Let a person in again. Raises `Conflict` while its driver or customer is archived."""
    user = scoping.lock(session, actor, AppUser, user_id)
    if user.disabled_at is not None:
        _require_present_person(session, user)
        user.disabled_at = None
        _tell_broker(session, user)
    return user


def _require_present_person(session: Session, user: AppUser) -> None:
    archived = session.scalar(
        select(func.coalesce(Driver.archived_at, Customer.archived_at))
        .select_from(AppUser)
        .outerjoin(Driver, Driver.id == AppUser.driver_id)
        .outerjoin(Customer, Customer.id == AppUser.customer_id)
        .where(AppUser.id == user.id)
    )
    if archived is not None:
        raise Conflict(f"The user's {user.role} is archived.")


def set_password(session: Session, actor: Actor, user_id: int, password_hash: str) -> None:
    """A manager sets anybody's; every token of that person ends."""
    user = scoping.lock(session, actor, AppUser, user_id)
    user.password_hash = password_hash
    user.token_epoch += 1


def own_password_hash(session: Session, actor: Actor) -> str:
    return session.get_one(AppUser, actor.user_id).password_hash


def change_own_password(session: Session, actor: Actor, old_hash: str, new_hash: str) -> None:
    """Raises `Conflict` when the password was changed since ``old_hash`` was read. Ends all tokens."""
    changed = session.execute(
        update(AppUser)
        .where(AppUser.id == actor.user_id, AppUser.password_hash == old_hash)
        .values(password_hash=new_hash, token_epoch=AppUser.token_epoch + 1)
        .returning(AppUser.id)
    ).one_or_none()
    if changed is None:
        raise Conflict("The password has just been changed.")


def replace_hash(session: Session, user_id: int, old_hash: str, new_hash: str) -> None:
    """The same password at today's costs; tokens stay valid."""
    session.execute(
        update(AppUser)
        .where(AppUser.id == user_id, AppUser.password_hash == old_hash)
        .values(password_hash=new_hash)
    )


def mqtt_login(session: Session, actor: Actor, mqtt_key: str) -> MqttLogin:
    """The own login on the broker. Raises `Forbidden` for drivers and customers: they have none."""
    user = _mqtt_person(session, actor)
    return _mqtt_login(user, actor, mqtt_key)


def rotate_mqtt_secret(session: Session, actor: Actor, mqtt_key: str) -> MqttLogin:
    """A new secret; the broker refuses the old one as soon as the jobs process has told it."""
    user = _mqtt_person(session, actor)
    user.mqtt_secret_version += 1
    _tell_broker(session, user)
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


def _tell_broker(session: Session, user: AppUser) -> None:
    if user.role in MQTT_ROLES:
        outbox.sync_access(session, outbox.Kind.OPERATOR, user.company_id, user.id)
