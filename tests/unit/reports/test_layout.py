"""Reports as they are laid out on paper: what begins and ends a page, and what stands beside what."""

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from typing import Any

import msgspec
import pytest
import weasyprint
from weasyprint.formatting_structure.boxes import TableBox, TableRowBox

from core.reporting import daily_figures
from core.reporting.daily_figures import Cell, DayFigures, ProblemDelivery
from core.reporting.daily_report import Daily
from core.rules.enums import Status
from local.report_samples.day import DRIVERS, VEHICLES, busy_day
from local.report_samples.deliveries import failed_delivery, for_customer, late_delivery
from reports.pages import daily_page, delivery_page
from tests.support.slow import first_now

LEAST_ROWS = 3
SAMPLES = {
    "late": lambda: delivery_page.html(late_delivery()),
    "customer": lambda: delivery_page.html(for_customer(late_delivery())),
    "failed": lambda: delivery_page.html(failed_delivery()),
    "day": lambda: daily_page.html(busy_day()),
    "first day": lambda: daily_page.html(first_day()),
}


def first_day() -> Daily:
    """Of a company that agrees no times: its first deliveries, at eleven."""
    day = busy_day()
    cells = [
        Cell(1, 1, Status.DELIVERED, 9, 1, False, False, False, False, 0.0),
    ]
    figures = DayFigures(
        planned=1,
        under_way=3,
        overdue=0,
        total=daily_figures.summed(cells),
        distance_m=20_500.0,
        hours=daily_figures.hours(cells, day.starts_at, day.ends_at),
        drivers=daily_figures.shares(cells, lambda cell: cell.driver_id, DRIVERS, {1: 12_000.0}),
        vehicles=daily_figures.shares(cells, lambda cell: cell.vehicle_id, VEHICLES, {1: 12_000.0}),
        reasons=[],
        problems=[],
        problems_left_out=0,
    )
    return msgspec.structs.replace(day, figures=figures, made_at=day.starts_at + timedelta(hours=11))


def with_problems(count: int) -> Daily:
    day = busy_day()
    problems = [
        ProblemDelivery(number, f"FB-{number}", Status.DELIVERED, day.starts_at, 600.0, None)
        for number in range(count)
    ]
    figures = msgspec.structs.replace(day.figures, problems=problems)
    return msgspec.structs.replace(day, figures=figures)


def boxes(page: Any, kind: type[Any]) -> Iterator[Any]:
    return (box for box in page._page_box.descendants() if isinstance(box, kind))


def rows_by_table(page: Any) -> dict[int, int]:
    """How many rows of each table stand on a page, headings not counted; by the table's element."""
    return {
        id(table.element): sum(is_row(box) for box in table.descendants()) for table in boxes(page, TableBox)
    }


def is_row(box: Any) -> bool:
    return isinstance(box, TableRowBox) and any(cell.element_tag == "td" for cell in box.children)


def edges(cell: Any) -> tuple[float, float] | None:
    """Where the text of a heading begins and ends, in CSS pixels."""
    texts = [box for box in cell.descendants() if getattr(box, "text", "").strip()]
    if not texts:
        return None
    return min(box.position_x for box in texts), max(box.position_x + box.width for box in texts)


@pytest.mark.parametrize("name", list(SAMPLES))
def test_headings_do_not_touch(name: str) -> None:
    for page in weasyprint.HTML(string=SAMPLES[name]()).render().pages:
        for row in boxes(page, TableRowBox):
            edges_of_heads = [edges(cell) for cell in row.children if cell.element_tag == "th"]
            for left, right in pairwise(one for one in edges_of_heads if one is not None):
                assert right[0] - left[1] >= 14


@pytest.mark.parametrize("count", first_now([24, *range(15, 24), *range(49, 57)]))
def test_no_page_has_a_lonely_row_and_no_short_table_is_split(count: int) -> None:
    pages = weasyprint.HTML(string=daily_page.html(with_problems(count))).render().pages
    on_pages = [rows_by_table(page) for page in pages]
    parts = [rows for found in on_pages for rows in found.values()]
    assert sum(parts) == len(busy_day().figures.reasons) + len(DRIVERS) + len(VEHICLES) + count
    assert min(parts) >= LEAST_ROWS
    pages_of = Counter(table for found in on_pages for table in found)
    assert sorted(pages_of.values())[:-1] == [1, 1, 1], "only the long one is on several pages"


def test_a_day_without_agreed_times_claims_no_rate() -> None:
    html = daily_page.html(first_day())
    assert "<b>None</b><span>had an agreed time</span>" in html
    assert "of 0 agreed" not in html
    assert "On time" not in html
    assert "on time is what" not in html
    assert "<b>1</b><span>delivery ended</span>" in html.replace(' class="good"', "")
    assert "<span>under way now</span>" in html
