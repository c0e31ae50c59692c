"""Messages we could not use."""

from datetime import datetime
from typing import Annotated, Self

from pydantic import Field

from api.schemas.fields import Output
from core.quarantine import QuarantineEntry


class QuarantineOut(Output):
    id: int
    device_id: str | None
    topic: str
    reason: Annotated[str, Field(examples=["bad_time"])]
    detail: str
    received_at: datetime
    raw: Annotated[str, Field(description="the beginning of the message as text; other bytes as \\xNN")]
    raw_bytes: Annotated[int, Field(description="how long the message was")]

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
        )
