"""The demo company's past: deliveries with their checkpoints and tracks from before the first start.

Written by the same functions of core that the processes call, with earlier instants as the present.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from math import dist
from random import Random

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from core.deliveries import commands, load_orders, status_changes
from core.deliveries.commands import NewDelivery
from core.deliveries.load_orders import NewLoadItem, NewLoadOrder
from core.deliveries.status_changes import StatusRequest
from core.models.delivery import Delivery
from core.positions import store
from core.rules.enums import Status
from core.rules.fix import Fix, VehicleFix
from core.rules.lifecycle import UNDER_WAY
from local.demo import cast
from local.demo.roster import Recipient, Roster, RosterMember
from local.simulator import driving, routes
from local.simulator.driving import Reading, SimulatedVan

Event = StatusRequest | Reading

STEP_S = 5.0
LOADING_S = 45.0
NEAR_M = 40.0
ORDERED_BEFORE = timedelta(minutes=20)
SLOT = timedelta(minutes=40)
# The outcome of each earlier delivery, oldest first.
ENDINGS = (
    StatusRequest(status=Status.DELIVERED),
    StatusRequest(status=Status.DELIVERED),
    StatusRequest(status=Status.RETURNED, reason=cast.RETURNS[0]),
    StatusRequest(status=Status.DELIVERED),
    StatusRequest(status=Status.DELIVERED),
    StatusRequest(status=Status.FAILED, reason=cast.FAILURES[0]),
    StatusRequest(status=Status.DELIVERED),
    StatusRequest(status=Status.DELIVERED),
)
# Deliveries under way when the demo starts: the present phase, and the share of it that is done.
PROGRESS = ((Status.IN_TRANSIT, 0.5), (Status.PICKUP_IN_PROGRESS, 0.5), (Status.IN_TRANSIT, 0.1))


def write(session: Session, roster: Roster, now: datetime) -> None:
    """Write the past and present of a company that has no delivery yet."""
    if roster.members and roster.recipients and _is_new(session, roster):
        _Writer(session, roster, now).write()


def keep_walk_under_way(session: Session, roster: Roster, now: datetime) -> None:
    """Keep a delivery to customer 1 under way in the walk-through's van, whatever users did before."""
    walk = roster.walk
    if walk is None or not roster.recipients or is_under_way(session, walk.vehicle_id):
        return
    delivery = _order(session, roster, walk, roster.recipients[0], cast.WALK_REFERENCE, now)
    for status in (Status.PICKUP_IN_PROGRESS, Status.IN_TRANSIT):
        status_changes.change_status(session, walk.actor, delivery.id, StatusRequest(status=status), now)


def is_under_way(session: Session, vehicle_id: int) -> bool:
    query = select(Delivery.id).where(Delivery.vehicle_id == vehicle_id, Delivery.status.in_(UNDER_WAY))
    return session.scalar(query.limit(1)) is not None


def _is_new(session: Session, roster: Roster) -> bool:
    query = select(Delivery.id).where(Delivery.company_id == roster.manager.company_id)
    return session.scalar(query.limit(1)) is None


def _order(
    session: Session,
    roster: Roster,
    member: RosterMember,
    recipient: Recipient,
    reference: str,
    ordered_at: datetime,
    goods: Sequence[tuple[str, int, float]] = cast.GOODS[:1],
) -> Delivery:
    items = [NewLoadItem(description=what, quantity=count, weight_kg=kg) for what, count, kg in goods]
    load = load_orders.add(session, roster.manager, NewLoadOrder(reference=f"LOAD-{reference}", items=items))
    shop = recipient.shop.place
    depot = cast.depot_for(shop)
    new = NewDelivery(
        reference=reference,
        customer_id=recipient.customer_id,
        driver_id=member.driver_id,
        vehicle_id=member.vehicle_id,
        load_order_id=load.id,
        pickup_address=depot.address,
        pickup_latitude=depot.latitude,
        pickup_longitude=depot.longitude,
        dropoff_address=shop.address,
        dropoff_latitude=shop.latitude,
        dropoff_longitude=shop.longitude,
        created_at=ordered_at,
    )
    return commands.create(session, roster.manager, new, ordered_at)


class _Writer:
    """``now`` is the end of the history; each van's next trip starts where its last one ended."""

    def __init__(self, session: Session, roster: Roster, now: datetime) -> None:
        self._session = session
        self._roster = roster
        self._now = now
        self._rng = Random(cast.SLUG)  # noqa: S311  # every demo starts alike
        self._places: dict[int, cast.RouteStop] = {}
        self._odometers: dict[int, float] = {}
        self._ordered = 0

    def write(self) -> None:
        members = self._roster.members
        for number, ending in enumerate(ENDINGS):
            start = self._now - SLOT * (len(ENDINGS) + 1 - number)
            self._deliver(members[number % len(members)], self._recipient(number), start, ending)
        for number, (member, progress) in enumerate(zip(members, PROGRESS, strict=False)):
            since = self._since(member, self._recipient(number), *progress)
            self._deliver(member, self._recipient(number), self._now - since, ENDINGS[0])
        for number, member in enumerate(members):
            self._order(member, self._recipient(number + 1), self._now)

    def _recipient(self, number: int) -> Recipient:
        return self._roster.recipients[number % len(self._roster.recipients)]

    def _order(self, member: RosterMember, recipient: Recipient, ordered_at: datetime) -> Delivery:
        self._ordered += 1
        goods = self._rng.sample(cast.GOODS, 2)
        reference = f"LX-{self._ordered:04}"
        return _order(self._session, self._roster, member, recipient, reference, ordered_at, goods)

    def _deliver(
        self, member: RosterMember, recipient: Recipient, start: datetime, ending: StatusRequest
    ) -> None:
        """Write one delivery as far as it has come by now."""
        delivery = self._order(member, recipient, start - ORDERED_BEFORE)
        readings: list[Reading] = []
        for instant, event in self._story(member, recipient, start, ending):
            if instant > self._now:
                break
            if isinstance(event, Reading):
                readings.append(event)
                self._odometers[member.vehicle_id] = event.odometer_m
                continue
            self._store(member, readings, instant)
            readings = []
            status_changes.change_status(self._session, member.actor, delivery.id, event, instant)
        self._store(member, readings, self._now)
        self._places[member.vehicle_id] = recipient.shop.place

    def _since(self, member: RosterMember, recipient: Recipient, leg: Status, share: float) -> timedelta:
        """Return the time since the pickup began if ``share`` of the phase is done, by a dry run."""
        story = self._story(member, recipient, self._now, ENDINGS[0])
        statuses = {event.status: at for at, event in story if isinstance(event, StatusRequest)}
        end = statuses[Status.IN_TRANSIT if leg is Status.PICKUP_IN_PROGRESS else Status.DELIVERED]
        return statuses[leg] - self._now + (end - statuses[leg]) * share

    def _story(
        self, member: RosterMember, recipient: Recipient, start: datetime, ending: StatusRequest
    ) -> Iterator[tuple[datetime, Event]]:
        shop = recipient.shop.place
        depot = cast.depot_for(shop)
        place = self._places.get(member.vehicle_id, cast.RouteStop("", member.crew.start))
        # A generator per trip, so that the same story can be generated twice.
        rng = Random(f"{member.crew.van} to {shop.address}")  # noqa: S311  # every demo starts alike
        van = self._parked(member, place, rng)
        yield start, StatusRequest(status=Status.PICKUP_IN_PROGRESS)
        instant = start
        for stop, arrived in ((depot, StatusRequest(status=Status.IN_TRANSIT)), (shop, ending)):
            leg = list(_drive(van, stop, instant, rng))
            yield from ((reading.fix_time, reading) for _, reading in leg)
            if leg:
                van, instant = leg[-1][0], leg[-1][1].fix_time
            yield instant, arrived

    def _parked(self, member: RosterMember, place: cast.RouteStop, rng: Random) -> SimulatedVan:
        odometer_m = self._odometers.get(member.vehicle_id)
        return driving.parked_at(place.latitude, place.longitude, rng, odometer_m)

    def _store(self, member: RosterMember, readings: Sequence[Reading], now: datetime) -> None:
        device_id = member.unit.device_id if member.unit else None
        fixes = [VehicleFix(member.vehicle_id, _fix(reading), device_id) for reading in readings]
        store.store(self._session, fixes, now)


def _drive(
    van: SimulatedVan, stop: cast.RouteStop, departed_at: datetime, rng: Random
) -> Iterator[tuple[SimulatedVan, Reading]]:
    """Yield the readings of the drive and of the time it takes to load."""
    if dist(van.place, routes.to_plane(stop.latitude, stop.longitude)) > NEAR_M:
        van = driving.depart(van, driving.trip_to(van, stop.latitude, stop.longitude, rng, LOADING_S))
    while not van.is_done:
        departed_at += timedelta(seconds=STEP_S)
        van, reading = driving.read(driving.advance(van, STEP_S, rng), departed_at, rng)
        yield van, reading


def _fix(reading: Reading) -> Fix:
    values = msgspec.structs.asdict(reading)
    return Fix(message_id=values.pop("id"), **values)
