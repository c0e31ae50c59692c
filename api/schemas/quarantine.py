"""Refused messages."""

from datetime import datetime
from typing import Annotated, Self

from pydantic import Field

from api.schemas.fields import Output
from api.schemas.pages import Page
from core.records.quarantine import SHOWN_COUNTS, NotKept, QuarantineEntry


class QuarantineOut(Output):
    id: int
    device_id: str | None
    topic: str
    reason: Annotated[str, Field(examples=["bad_time"])]
    detail: str
    received_at: datetime
    raw: Annotated[str, Field(description="the beginning of the message as text; other bytes as \\xNN")]
    raw_bytes: Annotated[int, Field(description="length of the whole message")]
    raw_sha256: Annotated[str, Field(description="SHA-256 of the whole, in hex", examples=["9f" * 32])]

    @classmethod
    def of(cls, row: QuarantineEntry) -> Self:
        return cls(
            id=row.id,
            device_id=row.device_id,
            topic=row.topic,
            reason=row.reason,
            detail=row.detail,
            received_at=row.received_at,
            raw=row.beginning.decode("utf-8", "backslashreplace"),
            raw_bytes=row.raw_bytes,
            raw_sha256=row.raw_sha256.hex(),
        )


class NotKeptOut(Output):
    """Refused messages of one device in one hour beyond its own or its company's bound: counted only."""

    device_id: str | None
    hour: Annotated[datetime, Field(description="when the hour began")]
    messages: int
    bytes: int
    last_id: Annotated[
        int | None,
        Field(description="id of the list's item that holds the newest of them; null: none"),
    ]

    @classmethod
    def of(cls, row: NotKept) -> Self:
        return cls(
            device_id=row.device_id,
            hour=row.hour,
            messages=row.messages,
            bytes=row.raw_bytes,
            last_id=row.last_id,
        )


class QuarantinePage(Page[QuarantineOut]):
    """The list, and on each page the same counts of the messages that were not kept."""

    not_kept: Annotated[
        list[NotKeptOut], Field(description=f"newest first; the newest {SHOWN_COUNTS} devices and hours")
    ]
