"""What deliveries carry."""

from datetime import datetime
from typing import Annotated

from pydantic import BeforeValidator, Field

from api.schemas.fields import Input, Line, Output, Positive, whole

Quantity = Annotated[int, Field(strict=True, ge=1, le=1_000_000), BeforeValidator(whole)]


class LoadItemIn(Input):
    """Weight and volume are those of the whole line."""

    description: Annotated[Line, Field(examples=["Crate of apples"])]
    quantity: Quantity = 1
    weight_kg: Positive | None = None
    volume_m3: Positive | None = None


Items = Annotated[list[LoadItemIn], Field(min_length=1, max_length=500)]


class LoadOrderIn(Input):
    reference: Line
    items: Items


class LoadOrderPatch(Input):
    """The items are replaced as a whole."""

    reference: Line = Field(default_factory=str)
    items: Items = Field(default_factory=list)


class LoadItemOut(Output):
    id: int
    description: str
    quantity: int
    weight_kg: float | None
    volume_m3: float | None


class LoadOrderOut(Output):
    id: int
    reference: str
    created_at: datetime
    items: list[LoadItemOut]
