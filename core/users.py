"""People who log in: managers, operators, drivers and customers. The caller commits."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import and_, bindparam, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from core import audit, emails, isolation, login_sessions, notification_people, outbox, scoping, user_links
from core.actors import Actor
from core.deliveries import require_reference
from core.errors import Conflict, Forbidden, InvalidValue, NotAuthenticated
from core.identities import mqtt_secret, operator_user
from core.login_sessions import Ending
from core.models import AppUser, Company, Customer, Driver, Role
from core.people_models import LoginSession
from core.prepared import Prepared
from core.spelling import comparable_email, email_spellings

MQTT_ROLES = frozenset({Role.OPERATOR, Role.MANAGER})
# Built once: every request runs it, and building it costs as much as running it.
_ACTOR = (
    select(AppUser.company_id, Company.slug, AppUser.role, AppUser.driver_id, AppUser.customer_id)
    .join(Company, Company.id == AppUser.company_id)
    .where(
        AppUser.id == bindparam("user_id"),
        AppUser.token_epoch == bindparam("token_epoch"),
        AppUser.disabled_at.is_(None),
    )
)
_IN_SESSION = and_(
    LoginSession.id == bindparam("session_id"),
    LoginSession.user_id == AppUser.id,
    LoginSession.ended_at.is_(None),
)
ACTOR = Prepared("actor", _ACTOR)
ACTOR_IN_SESSION = Prepared("actor_in_session", _ACTOR.join(LoginSession, _IN_SESSION))
MAXIMUM_SESSION = 2**63 - 1


class Login(msgspec.Struct, frozen=True):
    """What a log-in is checked against. A disabled user's password is still verified, then refused.

    ``password_hash`` is None for somebody invited who has not come yet.
    """

    user_id: int
    company_id: int
    password_hash: str | None
    token_epoch: int
    is_disabled: bool


class MqttLogin(msgspec.Struct, frozen=True):
    """A person's own user on the broker; the secret is derived and has nothing to do with the password."""

    user_name: str
    secret: str
    company: str


def clean_email(email: str, field: str = "email") -> str:
    """Return the e-mail as it is stored (`comparable_email`). Raises `InvalidValue` for ``field``."""
    try:
        return emails.require_usable(comparable_email(email))
    except emails.BadAddress as bad:
        raise InvalidValue(field, str(bad)) from None


def _is_storable(text: str) -> bool:
    try:
        return b"\0" not in text.encode()
    except UnicodeEncodeError:
        return False


def login_of(session: Session, email: str) -> Login | None:
    """The user with this e-mail, in any company; None when there is none."""
    # Not `clean_email`: a user of an earlier version may have an address that is refused today.
    if len(email.strip()) > emails.MAXIMUM_LENGTH or not _is_storable(email):
        return None
    spellings = email_spellings(email)
    rows = session.execute(
        select(
            AppUser.email,
            AppUser.id,
            AppUser.company_id,
            AppUser.password_hash,
            AppUser.token_epoch,
            AppUser.disabled_at.is_not(None),
        ).where(AppUser.email.in_(spellings))
    ).all()
    # Two that differ in spelling only can be of 0.1.0: each is still found as it was typed then.
    typed = email.strip().lower()
    found = sorted(rows, key=lambda row: (row[0] != typed, spellings.index(row[0])))
    return Login(*found[0][1:]) if found else None


def note_failed_login(session: Session, login: Login | None) -> None:
    """In the audit log; of no company when the e-mail is nobody's."""
    company_id, user_id = (login.company_id, login.user_id) if login else (None, None)
    audit.note_user(session, "login_failed", company_id=company_id, user_id=user_id)


def actor_of(session: Session, user_id: int, token_epoch: int, session_id: int | None = None) -> Actor:
    """Who holds a token, in one query. Raises `NotAuthenticated` when disabled, gone or of an older epoch.

    A token of a log-in ends with it; one without holds for its time and its epoch.
    """
    if not (0 < user_id <= scoping.MAXIMUM_ID and 0 < token_epoch <= scoping.MAXIMUM_ID):
        raise NotAuthenticated
    known = {"user_id": user_id, "token_epoch": token_epoch}
    if session_id is None:
        rows = ACTOR.run(session, **known)
    elif 0 < session_id <= MAXIMUM_SESSION:
        rows = ACTOR_IN_SESSION.run(session, **known, session_id=session_id)
    else:
        rows = []
    if not rows:
        raise NotAuthenticated
    company_id, slug, role, driver_id, customer_id = rows[0]
    return Actor(
        company_id=company_id,
        company_slug=slug,
        role=Role(role),
        user_id=user_id,
        driver_id=driver_id,
        customer_id=customer_id,
        session_id=session_id,
    )


def add(
    session: Session,
    actor: Actor,
    *,
    email: str,
    name: str,
    role: Role,
    password_hash: str | None,
    driver_id: int | None = None,
    customer_id: int | None = None,
) -> AppUser:
    """A new person; without a password they are only invited yet.

    A driver names its driver, a customer its customer, the others neither.
    """
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
    audit.added(session, actor, user)
    _tell_broker(session, user)
    return user


def remove(session: Session, user: AppUser) -> None:
    """Only of somebody who never logged in: nothing refers to them."""
    session.delete(user)
    session.flush()
    _tell_broker(session, user)


def _insert(session: Session, user: AppUser) -> None:
    """Asked first, so that the usual refusal is no failed statement: the server logs those, hash and all."""
    _require_free_email(session, user.email)
    try:
        with session.begin_nested():
            session.add(user)
    except IntegrityError as error:
        if "driver_id" in str(error.orig):
            raise Conflict("That driver has a user already.", field="driver_id") from None
        raise Conflict("That e-mail is in use.", field="email") from None


def _require_free_email(session: Session, email: str, owner: int | None = None) -> None:
    """Raises `Conflict` when another user of any company has the e-mail, in any spelling."""
    query = select(AppUser.id).where(AppUser.email.in_(email_spellings(email)))
    with isolation.outside(session):
        taken = set(session.scalars(query))
    if taken - {owner}:
        raise Conflict("That e-mail is in use.", field="email")


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


def edit(session: Session, actor: Actor, user_id: int, values: Mapping[str, Any], now: datetime) -> AppUser:
    """Set ``name`` or ``email``: role and company never change. Links sent to the old e-mail end."""
    user = scoping.lock(session, actor, AppUser, user_id)
    changes = dict(values)
    if "email" in changes:
        changes["email"] = clean_email(changes["email"])
    if changes.get("email", user.email) != user.email:
        _require_free_email(session, changes["email"], user.id)
        user_links.revoke_all(session, user.id, now)
    try:
        with session.begin_nested():
            audit.change(session, actor, user, changes)
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
        _lock_out(session, actor, user, now)
    return user


def _lock_managers(session: Session, actor: Actor) -> set[int]:
    """The company's managers who can log in, locked in id order."""
    query = select(AppUser.id).where(
        scoping.is_ours(actor, AppUser),
        AppUser.role == Role.MANAGER,
        AppUser.disabled_at.is_(None),
        AppUser.password_hash.is_not(None),
    )
    return set(session.scalars(query.order_by(AppUser.id).with_for_update(key_share=True)))


def disable_people_of(session: Session, actor: Actor, person: Driver | Customer, now: datetime) -> None:
    """Lock out the users of a driver or customer that is being archived."""
    column = AppUser.driver_id if isinstance(person, Driver) else AppUser.customer_id
    for user in session.scalars(
        select(AppUser)
        .where(column == person.id, AppUser.disabled_at.is_(None))
        .order_by(AppUser.id)
        .with_for_update(key_share=True)
    ):
        _lock_out(session, actor, user, now)


def _lock_out(session: Session, actor: Actor, user: AppUser, now: datetime) -> None:
    user.disabled_at = now
    _end_access(session, user, Ending.DISABLED, now)
    notification_people.withdraw(session, user, now)
    audit.note(session, actor, "disabled", user)
    _tell_broker(session, user)


def _end_access(session: Session, user: AppUser, ending: Ending, now: datetime) -> None:
    """Every token and every open link of a person. The caller holds the user's lock."""
    user.token_epoch += 1
    session.flush()
    login_sessions.end_all(session, user.id, ending, now)
    user_links.revoke_all(session, user.id, now)


def enable(session: Session, actor: Actor, user_id: int) -> AppUser:
    """Let a person in again. Raises `Conflict` while its driver or customer is archived."""
    user = scoping.lock(session, actor, AppUser, user_id)
    if user.disabled_at is not None:
        _require_present_person(session, user)
        user.disabled_at = None
        audit.note(session, actor, "enabled", user)
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


def set_password(session: Session, actor: Actor, user_id: int, password_hash: str, now: datetime) -> None:
    """A manager sets anybody's; every token of that person ends."""
    user = scoping.lock(session, actor, AppUser, user_id)
    replace_password(session, user, password_hash, now)
    audit.note(session, actor, "password_set", user)


def replace_password(session: Session, user: AppUser, password_hash: str, now: datetime) -> None:
    """The caller holds the user's lock, and writes down who did it."""
    user.password_hash = password_hash
    _end_access(session, user, Ending.PASSWORD, now)


def change_own_password(
    session: Session, actor: Actor, old_hash: str | None, new_hash: str, now: datetime
) -> None:
    """Raises `Conflict` when the password was changed since ``old_hash`` was read. Ends all tokens."""
    user = session.scalar(
        select(AppUser)
        .where(AppUser.id == actor.user_id, AppUser.password_hash == old_hash)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    )
    if user is None:
        raise Conflict("The password has just been changed.")
    replace_password(session, user, new_hash, now)
    audit.note(session, actor, "password_changed", user)


def log_out_everywhere(session: Session, actor: Actor, now: datetime) -> None:
    """End every token of the person who asks."""
    user = session.scalars(
        select(AppUser).where(AppUser.id == actor.user_id).with_for_update(key_share=True)
    ).one()
    user.token_epoch += 1
    login_sessions.end_all(session, user.id, Ending.LOGGED_OUT, now)
    audit.note(session, actor, "logged_out", user)


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
    audit.note(session, actor, "mqtt_secret_rotated", user)
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
