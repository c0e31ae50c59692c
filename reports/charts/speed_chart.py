"""Speed over time: the mean as an area, the maximum as a line, stops as shaded stretches. Pure."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from markupsafe import Markup

from core.trips.speeds import SpeedStep
from core.trips.stops import Stop
from reports.charts import scales, svg
from reports.pages.clock import Clock

WIDTH, HEIGHT = 720.0, 190.0
LEFT, RIGHT, TOP, BOTTOM = 42.0, 12.0, 14.0, 26.0
Place = tuple[float, float]


class _Axes:
    def __init__(self, start: datetime, end: datetime, highest_kmh: float) -> None:
        self.start, self.end = start, end
        self.ticks = scales.ticks(max(highest_kmh, 10.0))

    def x(self, at: datetime) -> float:
        share = (at - self.start) / max(self.end - self.start, timedelta(seconds=1))
        return LEFT + min(max(share, 0.0), 1.0) * (WIDTH - LEFT - RIGHT)

    def y(self, speed_kmh: float) -> float:
        return HEIGHT - BOTTOM - speed_kmh / self.ticks[-1] * (HEIGHT - TOP - BOTTOM)


def draw(
    steps: Sequence[SpeedStep], stops: Sequence[Stop], start: datetime, end: datetime, clock: Clock
) -> Markup | None:
    """Draw the chart; None without a speed. The line is broken where fixes are missing."""
    if not steps:
        return None
    axes = _Axes(start, end, max(step.maximum_kmh for step in steps))
    parts = [
        *_stops(axes, stops),
        *_frame(axes, clock),
        *(part for run in _runs(steps) for part in _curve(axes, run)),
        svg.label(LEFT, TOP - 2, "km/h", anchor="end", dx=-5),
    ]
    return svg.picture(WIDTH, HEIGHT, "Speed over time", parts)


def _frame(axes: _Axes, clock: Clock) -> Iterator[Markup]:
    for tick in axes.ticks:
        y = axes.y(tick)
        yield svg.rule(LEFT, y, WIDTH - RIGHT, y)
        if tick != axes.ticks[-1]:
            yield svg.label(LEFT - 5, y + 4, f"{tick:g}", anchor="end")
    for instant in scales.instants(clock.local(axes.start), clock.local(axes.end)):
        x = axes.x(instant)
        yield svg.rule(x, HEIGHT - BOTTOM, x, HEIGHT - BOTTOM + 4, svg.MUTED)
        yield svg.label(x, HEIGHT - 9, clock.tick(instant), anchor="middle")


def _stops(axes: _Axes, stops: Sequence[Stop]) -> Iterator[Markup]:
    for stop in stops:
        x = axes.x(stop.start)
        yield svg.box(x, TOP, axes.x(stop.end) - x, HEIGHT - TOP - BOTTOM, svg.LATE, fill_opacity=0.16)


def _runs(steps: Sequence[SpeedStep]) -> Iterator[list[SpeedStep]]:
    """Split the steps at gaps; one or two missing steps do not break the line."""
    run: list[SpeedStep] = []
    for step in steps:
        if run and (step.start - run[-1].start).total_seconds() > 3.5 * step.seconds:
            yield run
            run = []
        run.append(step)
    if run:
        yield run


def _curve(axes: _Axes, run: Sequence[SpeedStep]) -> Iterator[Markup]:
    half = timedelta(seconds=run[0].seconds / 2)
    xs = [axes.x(step.start + half) for step in run]
    if len(xs) == 1:
        xs, run = [xs[0] - 1, xs[0] + 1], [run[0], run[0]]
    mean = [(x, axes.y(step.average_kmh)) for x, step in zip(xs, run, strict=True)]
    highest = [(x, axes.y(step.maximum_kmh)) for x, step in zip(xs, run, strict=True)]
    ground = [(xs[-1], axes.y(0)), (xs[0], axes.y(0))]
    yield svg.element("path", d=svg.path([*mean, *ground]) + "Z", fill=svg.ACCENT, fill_opacity=0.22)
    yield svg.element(
        "path", d=svg.path(highest), fill="none", stroke="#8fb8cb", stroke_width=1, stroke_linejoin="round"
    )
    yield svg.element(
        "path", d=svg.path(mean), fill="none", stroke=svg.ACCENT, stroke_width=1.75, stroke_linejoin="round"
    )
