"""Disable and enable users, and replace their passwords: what ends tokens and links."""

from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.access import scoping
from core.access.actors import Actor
from core.accounts import links, login_sessions
from core.accounts.login_sessions import Ending
from core.accounts.mqtt_logins import sync_with_broker
from core.errors import Conflict
from core.models.people import AppUser, Customer, Driver
from core.notifications import recipients
from core.records import audit
from core.rules.enums import Role


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
    recipients.withdraw(session, user, now)
    audit.note(session, actor, "disabled", user)
    sync_with_broker(session, user)


def _end_access(session: Session, user: AppUser, ending: Ending, now: datetime) -> None:
    """Every token and every open link of a person. The caller holds the user's lock."""
    user.token_epoch += 1
    session.flush()
    login_sessions.end_all(session, user.id, ending, now)
    links.revoke_all(session, user.id, now)


def enable(session: Session, actor: Actor, user_id: int) -> AppUser:
    """Let a person in again. Raises `Conflict` while its driver or customer is archived."""
    user = scoping.lock(session, actor, AppUser, user_id)
    if user.disabled_at is not None:
        _require_present_person(session, user)
        user.disabled_at = None
        audit.note(session, actor, "enabled", user)
        sync_with_broker(session, user)
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
