"""Users: managers, operators, drivers and customers. The caller commits."""

from collections.abc import Sequence
from datetime import datetime

import msgspec
from msgspec import UNSET, UnsetType
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from core.access import scoping
from core.access.actors import Actor
from core.access.references import require_reference
from core.accounts import links
from core.accounts.mqtt_logins import sync_with_broker
from core.database import row_security
from core.errors import Conflict, InvalidValue
from core.models.company import Company
from core.models.people import AppUser, Customer, Driver
from core.records import audit
from core.rules.changes import set_fields
from core.rules.enums import Role
from core.rules.text import emails
from core.rules.text.spelling import comparable_email, email_spellings


class NewUser(msgspec.Struct, frozen=True, kw_only=True):
    """A driver needs ``driver_id``, a customer ``customer_id``; other roles have neither."""

    email: str
    name: str
    role: Role
    driver_id: int | None = None
    customer_id: int | None = None


class UserChanges(msgspec.Struct, frozen=True, kw_only=True):
    """Role and company never change."""

    email: str | UnsetType = UNSET
    name: str | UnsetType = UNSET


def clean_email(email: str, field: str = "email") -> str:
    """Return the e-mail as it is stored (`comparable_email`). Raises `InvalidValue` for ``field``."""
    try:
        return emails.require_usable(comparable_email(email))
    except emails.BadAddress as bad:
        raise InvalidValue(field, str(bad)) from None


def add(session: Session, actor: Actor, new: NewUser, password_hash: str | None) -> AppUser:
    """Create a user; without a password the user is only invited."""
    scoping.require_manager(actor)
    _check_person(session, actor, new)
    user = AppUser(
        company_id=actor.company_id,
        email=clean_email(new.email),
        name=new.name,
        role=new.role,
        password_hash=password_hash,
        driver_id=new.driver_id,
        customer_id=new.customer_id,
    )
    _insert(session, user)
    audit.added(session, actor, user)
    sync_with_broker(session, user)
    return user


def remove(session: Session, user: AppUser) -> None:
    """Delete a user who never logged in, so that no row refers to it."""
    session.delete(user)
    session.flush()
    sync_with_broker(session, user)


def _insert(session: Session, user: AppUser) -> None:
    """Insert a user, once its e-mail address was found free.

    Without that check first, PostgreSQL would log the failed INSERT, password hash included.
    """
    _require_free_email(session, user.email)
    try:
        with session.begin_nested():
            session.add(user)
    except IntegrityError as error:
        if "driver_id" in str(error.orig):
            raise Conflict("That driver has a user already.", field="driver_id") from None
        raise Conflict("That e-mail is in use.", field="email") from None


def _require_free_email(session: Session, email: str, owner: int | None = None) -> None:
    """Raise `Conflict` when another user of any company has the e-mail address, in any spelling."""
    query = select(AppUser.id).where(AppUser.email.in_(email_spellings(email)))
    with row_security.outside(session):
        taken = set(session.scalars(query))
    if taken - {owner}:
        raise Conflict("That e-mail is in use.", field="email")


def _check_person(session: Session, actor: Actor, new: NewUser) -> None:
    wanted = {Role.DRIVER: "driver_id", Role.CUSTOMER: "customer_id"}.get(new.role)
    persons = (("driver_id", Driver, new.driver_id), ("customer_id", Customer, new.customer_id))
    for field, model, row_id in persons:
        if (row_id is not None) != (field == wanted):
            raise InvalidValue(field, f"must be {'given' if field == wanted else 'absent'} for a {new.role}")
        if row_id is not None:
            require_reference(session, actor, field, model, row_id)


def page(
    session: Session, actor: Actor, *, after: int | None, limit: int, role: Role | None = None
) -> Sequence[AppUser]:
    return scoping.page(session, actor, AppUser, after=after, limit=limit, role=role)


def find(session: Session, actor: Actor, user_id: int) -> AppUser:
    return scoping.find(session, actor, AppUser, user_id)


def me(session: Session, actor: Actor) -> tuple[AppUser, Company]:
    """Return the acting user, whatever its role, and its company."""
    return session.get_one(AppUser, actor.user_id), session.get_one(Company, actor.company_id)


def edit(session: Session, actor: Actor, user_id: int, edited: UserChanges, now: datetime) -> AppUser:
    """Change a user. Links sent to the old e-mail address end."""
    user = scoping.lock(session, actor, AppUser, user_id)
    changes = set_fields(edited)
    if edited.email is not UNSET:
        changes["email"] = clean_email(edited.email)
    if changes.get("email", user.email) != user.email:
        _require_free_email(session, changes["email"], user.id)
        links.revoke_all(session, user.id, now)
    try:
        with session.begin_nested():
            audit.change(session, actor, user, changes)
    except IntegrityError:
        raise Conflict("That e-mail is in use.", field="email") from None
    return user
