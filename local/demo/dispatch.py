"""The manager at work: lists open deliveries, orders more in time, keeps the walk-through going.

Every method is a chain of REST calls, for the errands' thread.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from urllib.parse import quote

from core.rules.enums import Status
from local.demo import cast
from local.demo.jobs import CourierJob, job
from local.demo.rest import Rest
from local.demo.roster import Recipient, Roster, RosterMember

OPEN_STATUSES = (Status.IN_TRANSIT, Status.PICKUP_IN_PROGRESS, Status.PENDING)
OPEN_OF_A_DRIVER = 2
OPEN_OF_CUSTOMER_1 = 2
PAGE = 200
MAXIMUM_PAGES = 5
WINDOW = timedelta(hours=2)


@dataclass(frozen=True)
class Listing:
    """All open deliveries, oldest first, as of a monotonic instant."""

    jobs: Sequence[CourierJob]
    listed_at: float

    def of(self, member: RosterMember) -> list[CourierJob]:
        """Return the deliveries of this driver in this van."""
        return [
            job
            for job in self.jobs
            if job.driver_id == member.driver_id and job.vehicle_id == member.vehicle_id
        ]


class Dispatch:
    def __init__(self, roster: Roster, manager: Rest, walk_driver: Rest | None, rng: Random) -> None:
        self._roster = roster
        self._manager = manager
        self._walk_driver = walk_driver
        self._rng = rng

    def refill(self) -> Listing:
        """Return the open deliveries, after at most one new order. Raises `RequestRefused` or `Away`."""
        listing = self._list()
        self._keep_walk_under_way(listing)
        idle = [m for m in self._roster.members if len(listing.of(m)) < OPEN_OF_A_DRIVER]
        if not idle:
            return listing
        least_busy = min(idle, key=lambda member: len(listing.of(member)))
        self._order(least_busy, self._recipient(listing), _reference())
        return self._list()

    def _list(self) -> Listing:
        listed_at = time.monotonic()
        jobs = [job(item) for status in OPEN_STATUSES for item in self._items(status)]
        return Listing(sorted(jobs, key=lambda job: job.id), listed_at)

    def _items(self, status: Status) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = []
        cursor = ""
        for _ in range(MAXIMUM_PAGES):
            page = self._manager.get(f"/deliveries/?status={status}&limit={PAGE}{cursor}")
            items += page["items"]
            if page["next"] is None:
                break
            cursor = f"&cursor={quote(page['next'])}"
        return items

    def _recipient(self, listing: Listing) -> Recipient:
        """Return customer 1 whenever it has too few deliveries to watch, otherwise a random customer."""
        first = self._roster.recipients[0]
        vans = {member.vehicle_id for member in self._roster.members}
        on_its_way = [j for j in listing.jobs if j.customer_id == first.customer_id and j.vehicle_id in vans]
        if len(on_its_way) < OPEN_OF_CUSTOMER_1:
            return first
        return self._rng.choice(self._roster.recipients)

    def _order(self, member: RosterMember, recipient: Recipient, reference: str) -> int:
        """Order a delivery and return its id."""
        now = datetime.now(UTC).replace(microsecond=0)
        goods = self._rng.sample(cast.GOODS, self._rng.randint(1, 3))
        delivery = self._manager.post(
            "/deliveries/",
            {
                "reference": reference,
                "customer_id": recipient.customer_id,
                "driver_id": member.driver_id,
                "vehicle_id": member.vehicle_id,
                "pickup": _place(cast.depot_for(recipient.shop.place)),
                "dropoff": _place(recipient.shop.place),
                "window_start": now.isoformat(),
                "window_end": (now + WINDOW).isoformat(),
                "items": [{"description": d, "quantity": n, "weight_kg": kg} for d, n, kg in goods],
            },
        )
        return int(delivery["id"])

    def _keep_walk_under_way(self, listing: Listing) -> None:
        walk = self._roster.walk
        if walk is None or self._walk_driver is None:
            return
        ours = listing.of(walk)
        if any(job.is_under_way for job in ours):
            return
        pending = [job.id for job in ours if job.reference == cast.WALK_REFERENCE]
        first = self._roster.recipients[0]
        delivery_id = pending[0] if pending else self._order(walk, first, cast.WALK_REFERENCE)
        for status in (Status.PICKUP_IN_PROGRESS, Status.IN_TRANSIT):
            self._walk_driver.post(f"/deliveries/{delivery_id}/status/", {"status": status.value})


def _reference() -> str:
    return f"LX-{datetime.now(UTC):%y%m%d-%H%M%S}"


def _place(stop: cast.RouteStop) -> dict[str, Any]:
    return {"address": stop.address, "latitude": stop.latitude, "longitude": stop.longitude}
