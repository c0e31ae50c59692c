"""Charts of a day's deliveries. Pure."""

from collections.abc import Iterator, Sequence
from math import cos, pi, sin

from markupsafe import Markup

from core.reporting.daily_figures import Hour, Tally
from reports.charts import scales, svg
from reports.pages.clock import Clock

WIDTH, HEIGHT = 720.0, 200.0
LEFT, RIGHT, TOP, BOTTOM = 36.0, 6.0, 10.0, 24.0
ON_TIME, DELIVERED = svg.GOOD, "#8cc5a6"


def parts(tally: Tally) -> list[tuple[str, int, str]]:
    """Return the outcomes in drawing order: words, number and colour."""
    return [
        ("delivered on time", tally.on_time, ON_TIME),
        ("delivered, nothing agreed", tally.delivered - tally.on_time - tally.delivered_late, DELIVERED),
        ("delivered late", tally.delivered_late, svg.LATE),
        ("returned", tally.returned, svg.NEUTRAL),
        ("failed", tally.failed, svg.BAD),
    ]


def by_hour(hours: Sequence[Hour], clock: Clock) -> Markup:
    """Draw one stacked bar per hour, of the deliveries that ended in it."""
    steps = scales.ticks(max([hour.tally.deliveries for hour in hours] + [1]))
    steps = [step for step in steps if step == int(step)]
    width = (WIDTH - LEFT - RIGHT) / len(hours)
    drawn = [
        *_levels(steps),
        *(
            part
            for number, hour in enumerate(hours)
            for part in _bar(LEFT + number * width, width, hour, steps[-1], clock)
        ),
    ]
    return svg.picture(WIDTH, HEIGHT, "Deliveries by hour", drawn)


def _levels(steps: Sequence[float]) -> Iterator[Markup]:
    for step in steps:
        y = _y(step, steps[-1])
        yield svg.rule(LEFT, y, WIDTH - RIGHT, y)
        yield svg.label(LEFT - 6, y + 4, f"{step:g}", anchor="end")


def _bar(x: float, width: float, hour: Hour, highest: float, clock: Clock) -> Iterator[Markup]:
    below = 0
    for _, number, colour in parts(hour.tally):
        if number:
            top, bottom = _y(below + number, highest), _y(below, highest)
            yield svg.box(x + width * 0.15, top, width * 0.7, bottom - top, colour)
            below += number
    local = clock.local(hour.start)
    if local.hour % 2 == 0:
        yield svg.label(x + width / 2, HEIGHT - 7, f"{local:%H}", anchor="middle")


def _y(number: float, highest: float) -> float:
    return HEIGHT - BOTTOM - number / highest * (HEIGHT - TOP - BOTTOM)


def outcomes(tally: Tally) -> Markup | None:
    """Draw one bar of all outcomes; None if no delivery ended."""
    if not tally.deliveries:
        return None
    x, drawn = 0.0, []
    for _, number, colour in parts(tally):
        width = WIDTH * number / tally.deliveries
        drawn.append(svg.box(x, 0.0, width, 26.0, colour))
        if width > 30:
            drawn.append(
                svg.label(
                    x + width / 2, 17.5, str(number), anchor="middle", fill="#ffffff", font_weight="bold"
                )
            )
        x += width
    return svg.picture(WIDTH, 26.0, "What became of the deliveries", drawn)


def on_time_ring(percent: float | None) -> Markup | None:
    """Draw the share delivered on time; None if no delivery had an agreed time."""
    if percent is None:
        return None
    colour = svg.GOOD if percent >= 90 else svg.LATE if percent >= 70 else svg.BAD
    ring = {"cx": 90, "cy": 80, "r": 58, "fill": "none", "stroke_width": 18}
    drawn = [svg.element("circle", stroke=svg.LINE, **ring)]
    if percent >= 100:
        drawn.append(svg.element("circle", stroke=colour, **ring))
    elif percent > 0:
        drawn.append(_arc(percent / 100, colour))
    drawn.append(
        svg.label(90, 88, f"{percent:.0f} %", anchor="middle", fill=svg.INK, font_size=26, font_weight="bold")
    )
    return svg.picture(180.0, 160.0, "Share on time", drawn)


def _arc(share: float, colour: str) -> Markup:
    """Return an arc from the top, clockwise."""
    x, y = 90 + 58 * sin(2 * pi * share), 80 - 58 * cos(2 * pi * share)
    return svg.element(
        "path",
        d=f"M90 22A58 58 0 {int(share > 0.5)} 1 {x:.2f} {y:.2f}",
        fill="none",
        stroke=colour,
        stroke_width=18,
    )


def key() -> list[tuple[Markup, str]]:
    return [(svg.icon(svg.box(1, 1, 12, 12, colour, rx=2)), words) for words, _, colour in parts(Tally())]


def meter(share: float, colour: str) -> Markup:
    """Draw a small bar for a table's cell; ``share`` is 0 to 1."""
    bar = [svg.box(0, 3, 80.0, 8, svg.TINT, rx=2), svg.box(0, 3, 80 * min(share, 1.0), 8, colour, rx=2)]
    return svg.element(
        "svg",
        *bar,
        xmlns="http://www.w3.org/2000/svg",
        width=80,
        height=14,
        viewBox="0 0 80 14",
        aria_hidden="true",
    )
