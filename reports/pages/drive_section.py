"""Route, stops and speed on a delivery's page. Customers get none of them: they would see other stops."""

from datetime import datetime
from typing import Any

from markupsafe import Markup

from core.models.delivery import Delivery
from core.reporting.delivery_report import DeliveryReport
from core.rules.geo import distance_m
from core.trips.reading import Source
from core.trips.stops import Stop
from reports.charts import route_map, speed_chart, svg
from reports.charts.route_map import Halt, Pin
from reports.pages import record_rows, tables
from reports.pages.clock import Clock, duration

NEAR_M = 200.0  # a stop this close to an address counts as made there


def values(report: DeliveryReport, clock: Clock) -> dict[str, Any]:
    drive, stops = report.driven.drive, report.stops or []
    is_shown = drive is not None and not report.is_for_customer
    is_over = report.delivery.ended_at is not None
    start = report.delivery.started_at
    end = report.delivery.ended_at or report.generated_at
    speeds = (report.speeds or []) if is_shown else []
    return {
        "route_map": _map(report, drive.lines) if drive is not None and is_shown else None,
        "map_keys": route_map.key(_halts(report), _pins(report.delivery), "end" if is_over else "now"),
        "measured_note": _measured_note(report) if is_shown else None,
        "stop_headings": tables.headings("n:No.", "w:Where", "t:From", "t:Until", "n:Time"),
        "stops": [
            tables.row(str(number), _stop_place(report.delivery, stop), *_stop_times(stop, clock))
            for number, stop in enumerate(stops, start=1)
        ],
        "stops_note": _stops_note(drive.stops_left_out) if drive is not None else None,
        "speed_chart": speed_chart.draw(speeds, stops, start, end, clock) if start else None,
        "speed_step": duration(speeds[0].seconds) if speeds else "",
    }


def _map(report: DeliveryReport, lines: list[list[tuple[float, float]]]) -> Markup | None:
    return route_map.draw(lines, _halts(report), _pins(report.delivery))


def _halts(report: DeliveryReport) -> list[Halt]:
    return [
        Halt(number, duration(stop.seconds), (stop.latitude, stop.longitude), stop.seconds)
        for number, stop in enumerate(report.stops or [], start=1)
    ]


def _pins(delivery: Delivery) -> list[Pin]:
    found = []
    if delivery.pickup_latitude is not None and delivery.pickup_longitude is not None:
        at = (delivery.pickup_latitude, delivery.pickup_longitude)
        found.append(Pin("P", f"Pickup: {delivery.pickup_address}", at, svg.NEUTRAL))
    if delivery.dropoff_latitude is not None and delivery.dropoff_longitude is not None:
        at = (delivery.dropoff_latitude, delivery.dropoff_longitude)
        found.append(Pin("D", f"Drop-off: {delivery.dropoff_address}", at, svg.INK))
    return found


def _measured_note(report: DeliveryReport) -> str | None:
    if report.driven.measured_by is Source.CHECKPOINTS:
        return "Drawn and measured by the location checkpoints: the single fixes are no longer kept."
    if not report.driven.is_complete:
        return f"Drawn and measured by every n-th of {report.driven.fixes:,} fixes."
    return None


def _stop_place(delivery: Delivery, stop: Stop) -> str:
    """Return the delivery's address near the stop, else degrees: there is no reverse geocoding."""
    places = (
        ("Pickup", delivery.pickup_address, delivery.pickup_latitude, delivery.pickup_longitude),
        ("Drop-off", delivery.dropoff_address, delivery.dropoff_latitude, delivery.dropoff_longitude),
    )
    for name, address, latitude, longitude in places:
        if latitude is None or longitude is None:
            continue
        if distance_m(latitude, longitude, stop.latitude, stop.longitude) <= NEAR_M:
            return f"{name}: {address}"
    return record_rows.place_words(stop.latitude, stop.longitude)


def _stop_times(stop: Stop, clock: Clock) -> tuple[str, str, str]:
    return clock.both(stop.start), _until(stop.start, stop.end, clock), duration(stop.seconds)


def _until(start: datetime, end: datetime, clock: Clock) -> str:
    is_one_day = clock.local(start).date() == clock.local(end).date()
    return clock.time(end) if is_one_day else clock.both(end)


def _stops_note(left_out: int) -> str | None:
    return f"The longest are listed; {left_out:,} shorter ones are left out." if left_out else None
