"""A made-up day of a van fleet, for the sample of the daily report."""

from collections.abc import Iterator
from datetime import date, timedelta
from random import Random

from core.reporting import daily_figures
from core.reporting.daily_figures import Cell, DayFigures, ProblemDelivery
from core.reporting.daily_report import Daily
from core.rules.enums import Status
from core.rules.times import time_zones

DAY, ZONE = date(2026, 3, 12), "Europe/Berlin"
DRIVERS = dict(
    enumerate(("Jonas Weiß", "Ayşe Demir", "Mateusz Król", "Олена Шевченко", "Ben Hartmann"), start=1)
)
VEHICLES = {number: f"Sprinter {number} (B-FW 310{number})" for number in DRIVERS}
REASONS = (
    "Nobody there, neighbours would not take it",
    "Address does not exist",
    "Refused: box was wet",
    "Shop closed",
)


def busy_day() -> Daily:
    starts_at, ends_at = time_zones.day_bounds(DAY, ZONE)
    rng = Random(3)  # noqa: S311  # no secret
    cells = list(_cells(rng))
    total = daily_figures.summed(cells)
    failures = [
        (900 + number, Status.RETURNED if number % 4 == 3 else Status.FAILED, REASONS[min(number // 3, 3)])
        for number in range(total.failed + total.returned)
    ]
    late = [
        ProblemDelivery(700 + i, f"FB-{4100 + 7 * i}", Status.DELIVERED, starts_at, 600.0 + 420 * i, None)
        for i in range(6)
    ]
    lost = [
        ProblemDelivery(id, f"FB-{id + 3300}", status, starts_at, 0.0, reason)
        for id, status, reason in failures
    ]
    problems = sorted([*late, *lost], key=lambda one: one.reference)
    for number, problem in enumerate(problems):
        problem.ended_at = starts_at + timedelta(hours=8, minutes=37 * number)
    metres = {number: rng.uniform(38_000, 96_000) for number in DRIVERS}
    figures = DayFigures(
        planned=total.deliveries + 6,
        under_way=2,
        overdue=1,
        total=total,
        distance_m=sum(metres.values()) * 1.18,
        hours=daily_figures.hours(cells, starts_at, ends_at),
        drivers=daily_figures.shares(cells, lambda cell: cell.driver_id, DRIVERS, metres),
        vehicles=daily_figures.shares(
            cells, lambda cell: cell.vehicle_id, VEHICLES, {id: 1.18 * found for id, found in metres.items()}
        ),
        reasons=daily_figures.reasons(failures),
        problems=problems,
        problems_left_out=0,
    )
    made_at = ends_at + timedelta(hours=1, minutes=4)
    return Daily("Fahrwerk Berlin GmbH", ZONE, DAY, starts_at, ends_at, made_at, True, figures)


def _cells(rng: Random) -> Iterator[Cell]:
    """Return the figures by hour, with peaks in the morning and towards the evening."""
    for hour, busy in enumerate((0, 0, 0, 0, 0, 0, 1, 3, 5, 5, 4, 3, 2, 2, 3, 4, 5, 4, 2, 1, 0, 0, 0, 0)):
        for driver in DRIVERS:
            for _ in range(round(busy * rng.uniform(0.2, 0.8))):
                yield _cell(driver, hour, rng.random(), has_window=rng.random() < 0.85)


def _cell(driver: int, hour: int, luck: float, *, has_window: bool) -> Cell:
    status = Status.FAILED if luck < 0.05 else Status.RETURNED if luck < 0.07 else Status.DELIVERED
    is_late = has_window and luck > 0.9 and status is Status.DELIVERED
    is_on_time = has_window and not is_late and status is Status.DELIVERED
    return Cell(driver, driver, status, hour, 1, has_window, is_on_time, is_late, is_late, 1500.0 * is_late)
