"""Invite users and let them set a password of their own. The caller commits."""

from datetime import datetime

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from core.access import scoping
from core.access.actors import Actor
from core.accounts import access, links, sign_in, users
from core.accounts.links import IssuedLink, LinkKind
from core.accounts.users import NewUser
from core.errors import Conflict, InvalidValue
from core.models.people import AppUser
from core.records import audit


class Invitation(msgspec.Struct, frozen=True):
    user: AppUser
    link: IssuedLink


def invite(session: Session, actor: Actor, new: NewUser, now: datetime) -> Invitation:
    """Create a user without a password, and the link to set one. Raises as `users.add` does."""
    user = users.add(session, actor, new, password_hash=None)
    audit.note(session, actor, "invited", user)
    return Invitation(user, links.make(session, user, LinkKind.INVITATION, now))


def renew(session: Session, actor: Actor, user_id: int, now: datetime) -> Invitation:
    """Make a new invitation link; the old one ends."""
    user = _lock_invited(session, actor, user_id)
    if user.disabled_at is not None:
        raise Conflict("The user is disabled.")
    audit.note(session, actor, "invited", user)
    return Invitation(user, links.make(session, user, LinkKind.INVITATION, now))


def withdraw(session: Session, actor: Actor, user_id: int) -> None:
    """Delete a user who never logged in: no row refers to it, and its e-mail address is free again."""
    user = _lock_invited(session, actor, user_id)
    audit.note(session, actor, "invitation_withdrawn", user)
    users.remove(session, user)


def _lock_invited(session: Session, actor: Actor, user_id: int) -> AppUser:
    user = scoping.lock(session, actor, AppUser, user_id)
    if not user.invited:
        raise Conflict("The user has a password already.")
    return user


def make_reset_link(session: Session, actor: Actor, user_id: int, now: datetime) -> IssuedLink:
    """Make a reset link for a user. The present password works until a new one is set."""
    user = scoping.lock(session, actor, AppUser, user_id)
    if user.invited or user.disabled_at is not None:
        raise Conflict("The user is disabled." if user.disabled_at else "The user is only invited yet.")
    audit.note(session, actor, "reset_link_made", user)
    return links.make(session, user, LinkKind.RESET, now)


def request_reset(session: Session, email: str, now: datetime) -> None:
    """Queue a reset link for the user with this e-mail address. Writes nothing when no user has it."""
    login = sign_in.login_of(session, email)
    if login is None or login.is_disabled:
        return
    links.owe_reset(session, login.company_id, login.user_id, now)
    audit.note_user(session, "reset_requested", company_id=login.company_id, user_id=login.user_id)


def require_open(session: Session, token: str, now: datetime) -> None:
    """Raise `InvalidValue` unless the link can be used now; called before the costly password hash."""
    if links.user_of(session, token, now) is None:
        raise _broken()


def set_password(session: Session, token: str, password_hash: str, now: datetime) -> None:
    """Use up the link and end all of the user's tokens and links. Raises `InvalidValue`."""
    user_id = links.user_of(session, token, now)
    # The user is locked before its link, as everywhere else.
    user = session.scalar(
        select(AppUser)
        .where(AppUser.id == user_id, AppUser.disabled_at.is_(None))
        .with_for_update(key_share=True)
    )
    if user is None or not links.use(session, token, now):
        raise _broken()
    access.replace_password(session, user, password_hash, now)
    audit.note_user(session, "password_set", company_id=user.company_id, user_id=user.id, by_user=True)


def _broken() -> InvalidValue:
    """Return the same error for every cause."""
    return InvalidValue("token", "is not valid, or not any more: ask for a new link")
