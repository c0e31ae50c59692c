"""The audit log."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from api.schemas.fields import Output, TextInstant
from api.schemas.pages import PageQuery
from core.records.audit import AuditSelection

Word = Annotated[str, StringConstraints(pattern=r"^[a-z_]{1,32}$", max_length=32)]
Key = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]{1,19}$", max_length=19), Field(examples=["17"])]


class AuditQuery(PageQuery):
    """Filters of the audit log; ``since`` is inclusive, ``until`` exclusive."""

    actor_kind: Literal["user", "token", "device", "system", "nobody"] | None = None
    actor_id: Key | None = None
    subject_kind: Annotated[Word | None, Field(examples=["vehicle"])] = None
    subject_id: Key | None = None
    action: Annotated[
        str | None, Field(max_length=64, pattern=r"^[a-z_]{1,32}\.[a-z_]{1,31}$", examples=["vehicle.edited"])
    ] = None
    since: TextInstant | None = None
    until: TextInstant | None = None

    def selection(self) -> AuditSelection:
        return AuditSelection(**self.model_dump(exclude={"limit", "cursor"}))


class AuditOut(Output):
    """A change. ``changes`` maps a field to ``{"before": …, "after": …}``, or null where values are not kept.

    The actor ``nobody`` stands for a failed login, whose user is not known.
    """

    id: int
    at: datetime
    actor_kind: str
    actor_id: str | None
    action: str
    subject_kind: str
    subject_id: str | None
    changes: Annotated[
        dict[str, Any], Field(examples=[{"plate": {"before": "B-MP 1", "after": "B-MP 2"}, "name": None}])
    ]
