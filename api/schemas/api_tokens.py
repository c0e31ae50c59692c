"""API tokens as clients send and see them."""

from datetime import datetime
from typing import Annotated

from pydantic import Field

from api.schemas.fields import Input, Instant, Line, Output
from core.accounts.api_tokens import Scope


class ApiTokenIn(Input):
    """A new API token; without ``expires_at`` it is valid until it is revoked."""

    name: Annotated[Line, Field(examples=["Web shop"])]
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=len(Scope))]
    expires_at: Instant | None = None


class ApiTokenOut(Output):
    """An API token without its secret.

    ``hint`` is the token's end. ``last_used_at`` is exact to a minute; ``created_by`` is a user's id.
    """

    id: int
    name: str
    hint: str
    scopes: list[Scope]
    created_by: int | None
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None


class ApiTokenMade(ApiTokenOut):
    token: str
