"""The filters of the list of deliveries."""

from typing import Annotated

from pydantic import Field

from api.schemas.fields import Line, QueryId, TextInstant
from api.schemas.pages import PageQuery
from core.deliveries.listing import Filters
from core.errors import InvalidValue
from core.rules.enums import Status


class DeliveryQuery(PageQuery):
    """Filters of the list. A delivery's time is the start of its window or, without one, its creation."""

    status: Annotated[
        list[Status], Field(max_length=len(Status), description="one, or several by repeating it")
    ] = []
    driver_id: QueryId | None = None
    vehicle_id: QueryId | None = None
    customer_id: QueryId | None = None
    since: Annotated[
        TextInstant | None,
        Field(
            alias="from",
            description="only deliveries whose time is this or later; sorts by time, newest first",
        ),
    ] = None
    until: Annotated[
        TextInstant | None,
        Field(alias="to", description="only deliveries whose time is before this; sorts by time as well"),
    ] = None
    q: Annotated[
        Line | None,
        Field(
            description="words, each the beginning of one in the reference or an address, in any letter case"
            " and spelling; of scripts without blanks between words any part",
            examples=["alexander berlin"],
        ),
    ] = None

    def filters(self) -> Filters:
        """Return the filters. Raises `InvalidValue` for an invalid time range."""
        if self.since is not None and self.until is not None and self.until <= self.since:
            raise InvalidValue("to", "must be later than from")
        return Filters(
            statuses=tuple(dict.fromkeys(self.status)),
            driver_id=self.driver_id,
            vehicle_id=self.vehicle_id,
            customer_id=self.customer_id,
            since=self.since,
            until=self.until,
            text=self.q,
        )
