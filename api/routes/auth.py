"""Logging in: OAuth2's password form, and refreshing."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from fastapi.security import OAuth2PasswordRequestForm

from api import tokens
from api.authentication import resolve
from api.dependencies import Sessions, SettingsOf, now
from api.schemas.people import RefreshIn, Tokens
from core import passwords, users
from core.errors import LoginRefused
from core.settings import Settings

router = APIRouter(prefix="/auth", tags=["people"])
REFUSED: dict[int | str, dict[str, Any]] = {401: {"description": "Refused"}}


@router.post("/token", summary="Log in", responses=REFUSED)
def log_in(
    sessions: Sessions, settings: SettingsOf, form: Annotated[OAuth2PasswordRequestForm, Depends()]
) -> Tokens:
    """`username` is the e-mail. Every refusal looks, and takes as long, the same."""
    with sessions() as session:
        login = users.login_of(session, form.username)
    # Hashing takes tens of milliseconds: no connection is held meanwhile.
    if not passwords.is_right(login.password_hash if login else None, form.password):
        raise LoginRefused
    if login is None or login.is_disabled:
        raise LoginRefused
    if passwords.needs_rehash(login.password_hash):
        new_hash = passwords.hash_password(form.password)
        with sessions() as session:
            users.replace_hash(session, login.user_id, login.password_hash, new_hash)
            session.commit()
    return _tokens(settings, login.user_id, login.token_epoch)


@router.post("/refresh", summary="Get new tokens", responses=REFUSED)
def refresh(sessions: Sessions, settings: SettingsOf, body: RefreshIn) -> Tokens:
    """For the refresh token of the last answer. The same 401 for whatever is not valid."""
    claims = tokens.read(settings, tokens.Kind.REFRESH, body.refresh_token)
    with sessions() as session:
        resolve(session, claims)
    return _tokens(settings, claims.user_id, claims.epoch)


def _tokens(settings: Settings, user_id: int, epoch: int) -> Tokens:
    issued_at = now()
    return Tokens(
        access_token=tokens.issue(settings, tokens.Kind.ACCESS, user_id, epoch, issued_at),
        refresh_token=tokens.issue(settings, tokens.Kind.REFRESH, user_id, epoch, issued_at),
        expires_in=int(tokens.lifetime(settings, tokens.Kind.ACCESS).total_seconds()),
    )
