"""Customers, drivers and vehicles."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from api.schemas.fields import Email, Input, Line, Output, Text

Phone = Annotated[Line, Field(max_length=40, examples=["+49 30 1234567"])]
Name = Annotated[Line, Field(examples=["Clara Customer"])]


class CustomerIn(Input):
    name: Name
    email: Email | None = None
    phone: Phone | None = None
    address: Text | None = None


class CustomerPatch(Input):
    name: Name = Field(default_factory=str)
    email: Email | None = None
    phone: Phone | None = None
    address: Text | None = None


class CustomerOut(Output):
    id: int
    name: str
    email: str | None
    phone: str | None
    address: str | None
    archived_at: datetime | None
    erased_at: datetime | None
    created_at: datetime


def _require_true(value: Any) -> Any:
    """Require the literal true; in Python 1 == True, so a plain comparison would accept 1."""
    if value is not True:
        raise ValueError("must be true: an erasure cannot be undone")
    return value


class ErasureIn(Input):
    """An explicit confirmation: an erasure cannot be undone."""

    confirm: Annotated[Literal[True], BeforeValidator(_require_true)]


class DriverIn(Input):
    name: Name
    phone: Phone | None = None
    licence_number: Line | None = None


class DriverPatch(Input):
    name: Name = Field(default_factory=str)
    phone: Phone | None = None
    licence_number: Line | None = None


class DriverOut(Output):
    id: int
    name: str
    phone: str | None
    licence_number: str | None
    archived_at: datetime | None
    created_at: datetime


class VehicleIn(Input):
    name: Annotated[Line, Field(examples=["Van 7"])]
    plate: Line | None = None


class VehiclePatch(Input):
    name: Line = Field(default_factory=str)
    plate: Line | None = None


class VehicleOut(Output):
    """A vehicle with its newest position, if it has one."""

    id: int
    name: str
    plate: str | None
    archived_at: datetime | None
    created_at: datetime
    position_time: datetime | None
    position_latitude: float | None
    position_longitude: float | None
    position_speed_kmh: float | None
    position_course_deg: float | None
