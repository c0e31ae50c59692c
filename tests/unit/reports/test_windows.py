"""Agreed windows on a delivery's report: in its facts and on its time line."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from core.reporting import delivery_figures
from local.report_samples.deliveries import late_delivery
from reports.charts import svg, time_line
from reports.charts.time_line import Stretch, Window
from reports.pages import delivery_page
from reports.pages.clock import Clock

NIGHT = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)  # 02:30 in Berlin, an hour before 02:30 again
DASH = "\u2013"


def page_with(start: datetime | None, end: datetime | None, **changes: Any) -> str:
    report = late_delivery()
    report.delivery.window_start, report.delivery.window_end = start, end
    punctuality = delivery_figures.punctuality(report.delivery, report.generated_at)
    return delivery_page.html(replace(report, punctuality=punctuality, **changes))


def fact_of(page: str) -> str:
    """The words below the first of the facts."""
    (found,) = re.finditer(r"<span>(agreed[^<]*)</span>", page)
    return found[1]


def label_of(page: str) -> list[str]:
    return re.findall(r"<text[^>]*>(agreed[^<]*)</text>", page)


DAY = datetime(2026, 3, 12, 9, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("start", "end", "fact", "label"),
    [
        (None, DAY, "agreed: by 12 Mar 2026, 10:00", "agreed: by 10:00"),
        (DAY, None, "agreed: from 12 Mar 2026, 10:00", "agreed: from 10:00"),
        (
            DAY,
            DAY + timedelta(hours=1),
            f"agreed: 12 Mar 2026, 10:00 {DASH} 11:00",
            f"agreed: 10:00 {DASH} 11:00",
        ),
        (
            DAY,
            DAY + timedelta(hours=20),
            f"agreed: 12 Mar 2026, 10:00 {DASH} 13 Mar 2026, 06:00",
            f"agreed: 12 Mar 2026, 10:00 {DASH} 13 Mar 2026, 06:00",
        ),
        (
            None,
            DAY + timedelta(hours=20),
            "agreed: by 13 Mar 2026, 06:00",
            "agreed: by 13 Mar 2026, 06:00",
        ),
    ],
)
def test_page_shows_every_kind_of_window(
    start: datetime | None, end: datetime | None, fact: str, label: str
) -> None:
    page = page_with(start, end)
    assert fact_of(page) == fact
    assert label_of(page) == [label]


def test_page_without_a_window_says_any_time() -> None:
    page = page_with(None, None)
    assert (fact_of(page), label_of(page)) == ("agreed", [])
    assert "any time" in page


def test_page_shows_offsets_across_the_end_of_summer_time() -> None:
    page = page_with(NIGHT, NIGHT + timedelta(hours=1))
    assert fact_of(page) == f"agreed: 25 Oct 2026, 02:30 UTC+02:00 {DASH} 02:30 UTC+01:00"
    assert "02:30 UTC+02:00" in label_of(page)[0]
    assert "02:30 UTC+01:00" in label_of(page)[0]


def test_page_of_an_unknown_zone_is_in_utc_and_says_so() -> None:
    page = page_with(None, DAY, time_zone="Mars/Olympus")
    assert "all times: UTC (this server does not know the time zone Mars/Olympus)" in page
    assert fact_of(page) == "agreed: by 12 Mar 2026, 09:00"


@pytest.mark.parametrize("hours", [0, 3, 30])
def test_label_of_a_window_lies_on_the_drawing(hours: int) -> None:
    clock = Clock("Europe/Berlin", [NIGHT, NIGHT + timedelta(hours=40)])
    work = [Stretch("", NIGHT, NIGHT + timedelta(hours=30), svg.ACCENT)]
    edge = NIGHT + timedelta(hours=hours)
    for window in (Window(edge, edge + timedelta(hours=1)), Window(None, edge), Window(edge, None)):
        drawing = str(time_line.draw(work, window, None, clock))
        ((x, anchor, words),) = re.findall(
            r'<text x="([\d.]+)" y="81" text-anchor="(\w+)"[^>]*>([^<]*)<', drawing
        )
        width = len(words) * time_line.CHARACTER
        left = float(x) - width if anchor == "end" else float(x)
        assert 0 <= left <= left + width <= time_line.WIDTH, (words, x, anchor)
