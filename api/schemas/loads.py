"""Load orders and their items."""

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Self

from pydantic import BeforeValidator, Field

from api.schemas.fields import Input, Line, Output, Positive, whole
from core.deliveries.detail import LoadView
from core.deliveries.load_orders import LoadOrderChanges, NewLoadItem, NewLoadOrder, total
from core.models.load_order import LoadOrder

Quantity = Annotated[int, Field(strict=True, ge=1, le=1_000_000), BeforeValidator(whole)]


class LoadItemIn(Input):
    """One line of a load; weight and volume are those of the whole line."""

    description: Annotated[Line, Field(examples=["Crate of apples"])]
    quantity: Quantity = 1
    weight_kg: Positive | None = None
    volume_m3: Positive | None = None


Items = Annotated[list[LoadItemIn], Field(min_length=1, max_length=500)]


def new_items(items: Iterable[LoadItemIn]) -> list[NewLoadItem]:
    return [item.to(NewLoadItem) for item in items]


class LoadOrderIn(Input):
    reference: Line
    items: Items

    def new(self) -> NewLoadOrder:
        return NewLoadOrder(reference=self.reference, items=new_items(self.items))


class LoadOrderPatch(Input):
    """An edit of a load order. ``items`` are replaced as a whole."""

    reference: Line = Field(default_factory=str)
    items: Items = Field(default_factory=list)

    def changes(self) -> LoadOrderChanges:
        sent = self.sent() | ({"items": new_items(self.items)} if self.items else {})
        return LoadOrderChanges(**sent)


class LoadItemOut(Output):
    id: int
    description: str
    quantity: int
    weight_kg: float | None
    volume_m3: float | None


class LoadTotalsOut(Output):
    """A load order as lists show it. A total is null when no item has that weight or volume."""

    id: int
    reference: str
    created_at: datetime
    item_count: int
    weight_kg: float | None
    volume_m3: float | None


class LoadOrderOut(LoadTotalsOut):
    """A load order with every item."""

    items: list[LoadItemOut]

    @classmethod
    def of(cls, order: LoadOrder | LoadView) -> Self:
        """Build from an order whose items were loaded with it."""
        return cls(
            id=order.id,
            reference=order.reference,
            created_at=order.created_at,
            item_count=len(order.items),
            weight_kg=total(item.weight_kg for item in order.items),
            volume_m3=total(item.volume_m3 for item in order.items),
            items=[LoadItemOut.model_validate(item) for item in order.items],
        )
