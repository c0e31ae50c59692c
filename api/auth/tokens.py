"""Access tokens: HS256 JWTs with pinned algorithm, audience and issuer.

Every claim but ``sid`` is required.
"""

import enum
import time
from datetime import UTC, datetime, timedelta
from functools import lru_cache

import jwt
import msgspec

from core.errors import NotAuthenticated
from core.settings import Settings

ALGORITHM = "HS256"
ISSUER = "milepost"
AUDIENCE = "milepost-api"
LEEWAY_S = 5
MAXIMUM_LENGTH = 2048
_REQUIRED = ["exp", "iat", "sub", "typ", "epoch", "aud", "iss"]


class TokenKind(enum.StrEnum):
    """The ``typ`` claim. Refresh tokens are opaque now (`login_sessions`); old refresh JWTs are refused."""

    ACCESS = "access"
    REFRESH = "refresh"


class Claims(msgspec.Struct, frozen=True):
    """The claims of a genuine token; the database decides whether its user is still active."""

    user_id: int
    epoch: int
    expires_at: datetime
    session_id: int | None = None


def lifetime(settings: Settings, kind: TokenKind) -> timedelta:
    if kind is TokenKind.ACCESS:
        return timedelta(minutes=settings.access_token_minutes)
    return timedelta(days=settings.refresh_token_days)


def issue(
    settings: Settings,
    kind: TokenKind,
    user_id: int,
    epoch: int,
    now: datetime,
    session_id: int | None = None,
) -> str:
    """Return a signed token.

    With ``session_id`` it ends with that login session; without, it is valid until it expires or the user's
    epoch changes.
    """
    claims: dict[str, str | int] = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": str(user_id),
        "typ": kind.value,
        "epoch": epoch,
        "iat": int(now.timestamp()),
        "exp": int((now + lifetime(settings, kind)).timestamp()),
    }
    if session_id is not None:
        claims["sid"] = session_id
    return jwt.encode(claims, settings.jwt_key.get_secret_value(), algorithm=ALGORITHM)


def read(settings: Settings, kind: TokenKind, token: str) -> Claims:
    """Verify a token of this kind. Raises `NotAuthenticated`, the same for every cause."""
    if len(token) > MAXIMUM_LENGTH:
        raise NotAuthenticated
    claims = _genuine(settings.jwt_key.get_secret_value(), kind, token)
    if claims.expires_at.timestamp() <= time.time() - LEEWAY_S:
        raise NotAuthenticated
    return claims


@lru_cache(maxsize=4096)
def _genuine(key: str, kind: TokenKind, token: str) -> Claims:
    """Verify signature and claims; cached, as a client sends the same token with every request."""
    try:
        claims = jwt.decode(
            token,
            key,
            algorithms=[ALGORITHM],
            audience=AUDIENCE,
            issuer=ISSUER,
            leeway=LEEWAY_S,
            options={"require": _REQUIRED},
        )
        if claims["typ"] != kind.value:
            raise NotAuthenticated
        return Claims(
            int(claims["sub"]),
            int(claims["epoch"]),
            datetime.fromtimestamp(int(claims["exp"]), UTC),
            int(claims["sid"]) if "sid" in claims else None,
        )
    # The latter four are what a malicious header can raise in the decoders below PyJWT.
    except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError):
        raise NotAuthenticated from None
