"""A delivery's report as a page. Pure: all data is read before."""

from typing import Any

from markupsafe import Markup

from core.models.delivery import Delivery
from core.reporting.delivery_figures import Phase
from core.reporting.delivery_report import DeliveryReport
from core.rules.enums import Status
from core.trips.stops import Stop
from reports.charts import svg, time_line
from reports.charts.time_line import Stretch, TimeMark, Window
from reports.pages import drive_section, proof_section, record_rows, tables, templates, words
from reports.pages.clock import Clock, distance, duration

MAXIMUM_ITEMS = 100
UNDER_WAY = (Status.PICKUP_IN_PROGRESS, Status.IN_TRANSIT)


def html(report: DeliveryReport) -> str:
    return templates.render("delivery.html", _values(report))


def title(report: DeliveryReport) -> str:
    return f"Delivery {report.delivery.reference} · {report.company_name}"


def clock_of(report: DeliveryReport) -> Clock:
    """Return a clock for all instants of the report, so that it knows whether the zone's offset changes."""
    delivery = report.delivery
    instants = [report.generated_at, delivery.window_start, delivery.window_end]
    return Clock(report.time_zone, instants + [one.occurred_at for one in report.record])


def _values(report: DeliveryReport) -> dict[str, Any]:
    delivery, clock = report.delivery, clock_of(report)
    return {
        "title": title(report),
        "company": report.company_name,
        "kind": "Delivery report",
        "made": clock.both(report.generated_at),
        "zone": clock.title,
        "reference": delivery.reference,
        "customer": report.customer_name,
        "status": words.STATUS[delivery.status],
        "tone": words.TONES.get(delivery.status, ""),
        "pickup": delivery.pickup_address,
        "dropoff": delivery.dropoff_address,
        "crew": _crew(report),
        "reason": report.timeline[-1].reason if report.timeline else None,
        "facts_shown": _facts(report, clock),
        "time_line": _time_line(report, clock),
        "phase_headings": tables.headings("Phase", "t:From", "t:Until", "n:Time"),
        "phases": [_phase_row(phase, clock) for phase in report.phases],
        "proofs": proof_section.values(report, clock),
        **drive_section.values(report, clock),
        "item_headings": tables.headings("w:Item", "n:Quantity", "n:Weight", "n:Volume"),
        "items": [] if report.is_for_customer else _items(delivery),
        "record_headings": record_rows.headings(report),
        "record": record_rows.rows(report, clock),
        "record_note": record_rows.note(report),
    }


def _crew(report: DeliveryReport) -> list[str]:
    """Return the present driver and vehicle; for staff."""
    if report.is_for_customer:
        return []
    driver = report.names.drivers.get(report.delivery.driver_id or 0)
    vehicle = report.names.vehicles.get(report.delivery.vehicle_id or 0)
    return [name for name in (driver, vehicle) if name]


def _facts(report: DeliveryReport, clock: Clock) -> list[dict[str, str]]:
    facts = [_punctuality_fact(report, clock)]
    if report.active_seconds is not None:
        facts.append(_fact("from pickup to end", duration(report.active_seconds)))
        facts.append(_fact("driven", distance(report.driven.distance_m)))
    if report.stops:
        facts.append(_fact(f"standing, {words.plural(len(report.stops), 'stop')}", _standing(report.stops)))
    if report.load.items:
        weight = f"{report.load.weight_kg:,.10g} kg" if report.load.weight_kg else str(report.load.quantity)
        facts.append(_fact(words.plural(report.load.quantity, "piece"), weight))
    return facts


def _punctuality_fact(report: DeliveryReport, clock: Clock) -> dict[str, str]:
    found = report.punctuality
    agreed = clock.window(found.window_start, found.window_end)
    if agreed is None:
        return _fact("agreed", "any time")
    if found.window_end is None:
        return _fact(f"agreed: {agreed}", "Open end")
    if found.late_seconds:
        return _fact(f"agreed: {agreed}", f"{duration(found.late_seconds)} late", "bad")
    if found.on_time:
        return _fact(f"agreed: {agreed}", "On time", "good")
    is_over = report.delivery.status in {Status.FAILED, Status.RETURNED}
    return _fact(f"agreed: {agreed}", "Not delivered" if is_over else "Not due yet", "bad" if is_over else "")


def _standing(stops: list[Stop]) -> str:
    return duration(sum(stop.seconds for stop in stops))


def _fact(name: str, value: str, tone: str = "") -> dict[str, str]:
    return {"name": name, "value": value, "tone": tone}


def _phase_row(phase: Phase, clock: Clock) -> dict[str, Any]:
    until = "now" if phase.ended_at is None else clock.both(phase.ended_at)
    return tables.row(words.PHASE[phase.status], clock.both(phase.started_at), until, duration(phase.seconds))


def _time_line(report: DeliveryReport, clock: Clock) -> Markup | None:
    """Draw the timeline of the work only: days of waiting before it would shrink it to nothing."""
    stretches = [
        Stretch(
            f"{words.PHASE[phase.status]} {duration(phase.seconds)}",
            phase.started_at,
            phase.ended_at or report.generated_at,
            words.COLOURS[phase.status],
        )
        for phase in report.phases
        if phase.status in UNDER_WAY
    ]
    delivery = report.delivery
    window = Window(delivery.window_start, delivery.window_end)
    return time_line.draw(stretches, window, _end_mark(report, clock), clock)


def _end_mark(report: DeliveryReport, clock: Clock) -> TimeMark | None:
    delivery = report.delivery
    if delivery.ended_at is None:
        return None
    title = f"{words.STATUS[delivery.status]} {clock.time(delivery.ended_at)}"
    colour = svg.BAD if report.punctuality.late_seconds else words.COLOURS[delivery.status]
    return TimeMark(title, delivery.ended_at, colour)


def _items(delivery: Delivery) -> list[dict[str, Any]]:
    items = delivery.load_order.items if delivery.load_order else []
    rows = [
        tables.row(
            item.description,
            f"{item.quantity:,}",
            "" if item.weight_kg is None else f"{item.weight_kg:,.10g} kg",
            "" if item.volume_m3 is None else f"{item.volume_m3:,.10g} m³",
        )
        for item in items[:MAXIMUM_ITEMS]
    ]
    left = len(items) - MAXIMUM_ITEMS
    return [*rows, tables.row(f"and {left:,} more items", "", "", "")] if left > 0 else rows
