"""Where a WebSocket's token may stand: header, subprotocol or first message, never the query string. Pure."""

import enum
from collections.abc import Mapping, Sequence

import msgspec

SUBPROTOCOL = "bearer"
MAXIMUM_CHECKPOINT = 2**63 - 1
# A query string ends up in access logs, histories and referrers.
FORBIDDEN_PARAMETERS = frozenset({"token", "access_token", "jwt", "authorization"})


class Way(enum.Enum):
    HEADER = enum.auto()
    SUBPROTOCOL = enum.auto()
    FIRST_MESSAGE = enum.auto()


class Opening(msgspec.Struct, frozen=True):
    """``subprotocol`` is what we answer the handshake with; ``token`` is None until the first message."""

    way: Way
    token: str | None
    subprotocol: str | None
    last_checkpoint: int | None


class BadOpening(Exception):
    """The request cannot be meant like that."""


def opening(authorization: str | None, subprotocols: Sequence[str], parameters: Mapping[str, str]) -> Opening:
    """Raises `BadOpening` for a token in the query string and for a checkpoint that is no number."""
    if any(name.lower() in FORBIDDEN_PARAMETERS for name in parameters):
        raise BadOpening("token in the query string")
    last_checkpoint = _checkpoint(parameters.get("last_checkpoint_id"))
    subprotocol = SUBPROTOCOL if SUBPROTOCOL in subprotocols else None
    if authorization is not None:
        return Opening(Way.HEADER, _bearer(authorization), subprotocol, last_checkpoint)
    if (token := _beside_bearer(subprotocols)) is not None:
        return Opening(Way.SUBPROTOCOL, token, subprotocol, last_checkpoint)
    return Opening(Way.FIRST_MESSAGE, None, subprotocol, last_checkpoint)


def is_checkpoint(number: int | None) -> bool:
    return number is None or 0 <= number <= MAXIMUM_CHECKPOINT


def _bearer(authorization: str) -> str:
    """The token; "" for another scheme, which no token check lets pass."""
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _beside_bearer(subprotocols: Sequence[str]) -> str | None:
    """Browsers can set no header: they offer ``["bearer", token]``, and the former is answered."""
    if SUBPROTOCOL not in subprotocols:
        return None
    following = subprotocols[subprotocols.index(SUBPROTOCOL) + 1 :]
    return following[0] if following else None


def _checkpoint(text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 20 and is_checkpoint(int(text))):
        raise BadOpening("last_checkpoint_id is not a checkpoint's id")
    return int(text)
