"""Disable and enable users, and replace their passwords: the actions that end tokens and links."""

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
    """Disable a user, with tokens and MQTT login. Raises `Conflict` for the company's last manager."""
    user = scoping.find(session, actor, AppUser, user_id)
    scoping.require_manager(actor)
    # The managers are locked before the user, so that two managers who disable each other at the same time
    # take the locks in the same order.
    managers = _lock_managers(session, actor) if user.role is Role.MANAGER else set()
    user = scoping.lock(session, actor, AppUser, user_id)
    if user.disabled_at is None:
        if managers == {user.id}:
            raise Conflict("A company needs at least one manager.")
        _lock_out(session, actor, user, now)
    return user


def _lock_managers(session: Session, actor: Actor) -> set[int]:
    """Return the ids of the managers who can log in, locked in id order."""
    query = select(AppUser.id).where(
        scoping.is_ours(actor, AppUser),
        AppUser.role == Role.MANAGER,
        AppUser.disabled_at.is_(None),
        AppUser.password_hash.is_not(None),
    )
    return set(session.scalars(query.order_by(AppUser.id).with_for_update(key_share=True)))


def disable_people_of(session: Session, actor: Actor, person: Driver | Customer, now: datetime) -> None:
    """Disable the users of a driver or customer that is being archived."""
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
    """End every token and every open link of a user. The caller holds the user's row lock."""
    user.token_epoch += 1
    session.flush()
    login_sessions.end_all(session, user.id, ending, now)
    links.revoke_all(session, user.id, now)


def enable(session: Session, actor: Actor, user_id: int) -> AppUser:
    """Enable a user again. Raises `Conflict` while the user's driver or customer is archived."""
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
    """Set any user's password as a manager; all tokens of that user end."""
    user = scoping.lock(session, actor, AppUser, user_id)
    replace_password(session, user, password_hash, now)
    audit.note(session, actor, "password_set", user)


def replace_password(session: Session, user: AppUser, password_hash: str, now: datetime) -> None:
    """Replace the hash and end all access. The caller holds the user's row lock and writes the audit row."""
    user.password_hash = password_hash
    _end_access(session, user, Ending.PASSWORD, now)


def change_own_password(
    session: Session, actor: Actor, old_hash: str | None, new_hash: str, now: datetime
) -> None:
    """Set the acting user's password and end all tokens.

    Raises `Conflict` when the password was changed since ``old_hash`` was read.
    """
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
    """End every token of the acting user."""
    user = session.scalars(
        select(AppUser).where(AppUser.id == actor.user_id).with_for_update(key_share=True)
    ).one()
    user.token_epoch += 1
    login_sessions.end_all(session, user.id, Ending.LOGGED_OUT, now)
    audit.note(session, actor, "logged_out", user)
