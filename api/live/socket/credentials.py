"""Find a WebSocket's token: in a header, a subprotocol or the first message, never the query string. Pure.

A malformed opening is a `BadOpening` with its reason (close code 4400). Only a well-formed token that is not
valid means "not authenticated" (4401): clients refresh their token on that code, and would loop otherwise.
"""

import enum
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

SUBPROTOCOL = "bearer"
MAXIMUM_CHECKPOINT = 2**63 - 1
# Query strings end up in access logs, browser histories and referrers.
FORBIDDEN_PARAMETERS = frozenset({"token", "access_token", "jwt", "authorization"})


class Way(enum.Enum):
    HEADER = enum.auto()
    SUBPROTOCOL = enum.auto()
    FIRST_MESSAGE = enum.auto()


class Opening(msgspec.Struct, frozen=True):
    """How the client authenticates.

    ``subprotocol`` is the one to accept the handshake with; ``token`` is None until the first message.
    """

    way: Way
    token: str | None
    subprotocol: str | None
    last_checkpoint: int | None


class BadOpening(Exception):
    """Raised for a malformed opening; the text, at most 123 bytes, is the close frame's reason."""


def opening(authorization: str | None, subprotocols: Sequence[str], parameters: Mapping[str, str]) -> Opening:
    """Read the handshake. Raises `BadOpening` for a token in the query string or a malformed checkpoint."""
    if any(name.lower() in FORBIDDEN_PARAMETERS for name in parameters):
        raise BadOpening("a token in the query string: send it in a header, a subprotocol or a message")
    last_checkpoint = _checkpoint(parameters.get("last_checkpoint_id"))
    subprotocol = SUBPROTOCOL if SUBPROTOCOL in subprotocols else None
    if authorization is not None:
        return Opening(Way.HEADER, _bearer(authorization), subprotocol, last_checkpoint)
    if (token := _beside_bearer(subprotocols)) is not None:
        return Opening(Way.SUBPROTOCOL, token, subprotocol, last_checkpoint)
    return Opening(Way.FIRST_MESSAGE, None, subprotocol, last_checkpoint)


def first_message(hello: Opening, message: Mapping[str, Any]) -> Opening:
    """Return ``hello`` completed from ASGI's first ``websocket.receive``. Raises `BadOpening`."""
    text = message.get("text")
    if text is None:
        raise BadOpening("the first message must be text, not binary")
    fields = _object(text)
    if fields.get("type") != "auth":
        raise BadOpening('the first message must have "type": "auth"')
    token = fields.get("token")
    if type(token) is not str:
        raise BadOpening("token must be a string" if "token" in fields else "token is missing")
    last = fields.get("last_checkpoint_id")
    if last is None:
        last = hello.last_checkpoint
    elif type(last) not in {int, float} or last != int(last) or not 0 <= last <= MAXIMUM_CHECKPOINT:
        raise BadOpening("last_checkpoint_id must be a checkpoint's id, a number")
    return Opening(hello.way, token, hello.subprotocol, None if last is None else int(last))


def _object(text: str) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise BadOpening("the first message is not JSON") from None
    if type(value) is not dict:
        raise BadOpening("the first message must be a JSON object")
    return value


def _bearer(authorization: str) -> str:
    """Return the token, or "" for another scheme, which every token check refuses."""
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _beside_bearer(subprotocols: Sequence[str]) -> str | None:
    """Return the subprotocol offered after ``bearer``.

    Browsers cannot set headers, so they offer ``["bearer", token]``; the server accepts ``bearer``.
    """
    if SUBPROTOCOL not in subprotocols:
        return None
    following = subprotocols[subprotocols.index(SUBPROTOCOL) + 1 :]
    return following[0] if following else None


def _checkpoint(text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= MAXIMUM_CHECKPOINT):
        raise BadOpening("last_checkpoint_id must be a checkpoint's id, a number")
    return int(text)
