"""Log in (OAuth2's password form), refresh, log out, and set a password with a link from an e-mail."""

from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Response
from fastapi.security import OAuth2PasswordRequestForm
from sqlalchemy.orm import Session, sessionmaker
from starlette.concurrency import run_in_threadpool

from api.auth import tokens
from api.auth.hashing import HashingOf
from api.dependencies import AuthorizedCall, Peer, Sessions, SettingsOf, now
from api.http.idempotency import forbid_keeping
from api.http.openapi import TOO_MANY
from api.http.route import OpenRoute
from api.schemas.people import LinkPasswordIn, LogOutQuery, RefreshIn, ResetIn, Tokens
from core.accounts import access, invitations, login_sessions, passwords, sign_in, throttle
from core.accounts.login_sessions import Begun
from core.errors import LoginRefused, NotAuthenticated, TooManyAttempts
from core.settings import Settings


async def _uncached(response: Response) -> None:
    """Forbid caching of the response: RFC 6749, 5.1 requires it for tokens."""
    forbid_keeping(response)


router = APIRouter(
    prefix="/auth",
    tags=["people"],
    dependencies=[Depends(_uncached)],
    route_class=OpenRoute,
    form_limits={"max_fields": 20, "max_files": 0},
)
REFUSED: dict[int | str, dict[str, Any]] = {401: {"description": "Refused"}}


@router.post("/token", summary="Log in", responses=REFUSED | TOO_MANY)
async def log_in(
    sessions: Sessions,
    settings: SettingsOf,
    peer: Peer,
    hashing: HashingOf,
    form: Annotated[OAuth2PasswordRequestForm, Depends()],
) -> Tokens:
    """Log in; `username` is the e-mail address. Every refusal looks the same and takes as long.

    After 10 failures in 15 minutes: 429, whether or not a user has that e-mail address.
    """
    others = throttle.address_limits(peer, settings.login_failures_per_address)
    email = throttle.email_limit(form.username)
    with hashing.gate.slot():
        login = await run_in_threadpool(_count_attempt, sessions, form.username, [email, *others])
        old_hash = login.password_hash if login is not None else None
        checked = await hashing.run(passwords.check, old_hash, form.password)
        proven = login if checked.is_right else None
        begun = await run_in_threadpool(_begin, sessions, settings, login, proven, email, others)
        if proven is not None and old_hash is not None and checked.is_outdated:
            new_hash = await hashing.run(passwords.hash_password, form.password)
            await run_in_threadpool(_replace_hash, sessions, proven.user_id, old_hash, new_hash)
    return _tokens(settings, begun)


def _count_attempt(
    sessions: sessionmaker[Session], username: str, limits: list[throttle.Limit]
) -> sign_in.PasswordLogin | None:
    """Count the attempt and return the login of that e-mail address, or None if no user has it."""
    with sessions() as session:
        wait_s = throttle.take(session, limits, now())
        login = sign_in.login_of(session, username)
        session.commit()
    # The transaction has ended: no connection is held while the password is checked.
    if wait_s:
        raise TooManyAttempts(wait_s)
    return login


def _begin(
    sessions: sessionmaker[Session],
    settings: Settings,
    login: sign_in.PasswordLogin | None,
    proven: sign_in.PasswordLogin | None,
    email: throttle.Limit,
    others: list[throttle.Limit],
) -> Begun:
    """Begin the session of a user whose password was right. Raises `LoginRefused`."""
    begun = None
    with sessions() as session:
        if proven is not None and not proven.is_disabled:
            begun = login_sessions.begin(
                session, proven.user_id, proven.token_epoch, _lifetime(settings), now()
            )
        if begun is not None:
            throttle.forgive(session, email, others)
        else:
            # Also for unknown e-mail addresses; otherwise their refusal would be faster.
            sign_in.note_failed_login(session, login)
        session.commit()
    if begun is None:
        raise LoginRefused
    return begun


def _replace_hash(sessions: sessionmaker[Session], user_id: int, old_hash: str, new_hash: str) -> None:
    with sessions() as session:
        sign_in.replace_hash(session, user_id, old_hash, new_hash)
        session.commit()


@router.post("/refresh", summary="Get new tokens", responses=REFUSED)
def refresh(sessions: Sessions, settings: SettingsOf, body: RefreshIn) -> Tokens:
    """Exchange a refresh token for new tokens. Each refresh token works once.

    Used again more than 10 seconds later, it ends its whole login session.
    """
    with sessions() as session:
        begun = login_sessions.renew(session, body.refresh_token, _lifetime(settings), now())
        session.commit()
    if begun is None:
        raise NotAuthenticated
    return _tokens(settings, begun)


@router.post("/logout", summary="Log out", status_code=204)
def log_out(
    authorized: AuthorizedCall,
    query: Annotated[LogOutQuery, Query()],
) -> None:
    """End the login session: the access token becomes invalid together with its refresh token."""
    with authorized() as (session, actor):
        if query.everywhere or actor.session_id is None:
            access.log_out_everywhere(session, actor, now())
        else:
            login_sessions.end(session, actor, now())


@router.post("/reset", summary="Ask for a link to set a new password", status_code=202)
def request_reset(sessions: Sessions, settings: SettingsOf, peer: Peer, body: ResetIn) -> None:
    """Send a link to set a new password, if a user has this e-mail address.

    The response is always the same. At most 3 links are sent per 15 minutes.
    """
    limits = [
        throttle.email_limit(body.email, throttle.RESETS_PER_EMAIL, "reset"),
        *throttle.address_limits(peer, settings.login_failures_per_address, "reset"),
    ]
    with sessions() as session:
        if not throttle.take(session, limits, now()):
            invitations.request_reset(session, body.email, now())
        session.commit()


@router.post("/set-password", summary="Set a password with a link's token", status_code=204)
async def use_password_link(sessions: Sessions, hashing: HashingOf, body: LinkPasswordIn) -> None:
    """Set the password with the token of an invitation or a reset; the token works once.

    All of the user's tokens end: log in next.
    """
    with hashing.gate.slot():
        await run_in_threadpool(_require_open, sessions, body.token)
        password_hash = await hashing.run(passwords.hash_password, body.password)
    await run_in_threadpool(_set_password, sessions, body.token, password_hash)


def _require_open(sessions: sessionmaker[Session], token: str) -> None:
    with sessions() as session:
        invitations.require_open(session, token, now())


def _set_password(sessions: sessionmaker[Session], token: str, password_hash: str) -> None:
    with sessions() as session:
        invitations.set_password(session, token, password_hash, now())
        session.commit()


def _lifetime(settings: Settings) -> timedelta:
    return timedelta(days=settings.refresh_token_days)


def _tokens(settings: Settings, begun: Begun) -> Tokens:
    access_token = tokens.issue(
        settings, tokens.TokenKind.ACCESS, begun.user_id, begun.token_epoch, now(), begun.session_id
    )
    return Tokens(
        access_token=access_token,
        refresh_token=begun.refresh_token,
        expires_in=int(tokens.lifetime(settings, tokens.TokenKind.ACCESS).total_seconds()),
    )
