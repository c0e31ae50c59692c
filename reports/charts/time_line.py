"""When what was done, above the time that was agreed: one look tells whether it was late. Pure."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

import msgspec
from markupsafe import Markup

from reports.charts import scales, svg
from reports.clock import Clock

WIDTH, LEFT, RIGHT = 720.0, 4.0, 4.0
BAR_Y, BAR_HEIGHT, WINDOW_Y = 22.0, 24.0, 58.0
LEAST_LABELLED = 90.0


class Stretch(msgspec.Struct, frozen=True):
    title: str
    start: datetime
    end: datetime
    colour: str


class Mark(msgspec.Struct, frozen=True):
    """The instant that everything led to."""

    title: str
    at: datetime
    colour: str


def draw(
    stretches: Sequence[Stretch],
    window: tuple[datetime | None, datetime] | None,
    mark: Mark | None,
    clock: Clock,
) -> Markup | None:
    """``window`` is what was agreed: from (perhaps open) and until. None where nothing has begun."""
    if not stretches:
        return None
    start, end = _bounds(stretches, window, mark)
    height = 108.0 if window else 74.0

    def x(at: datetime) -> float:
        share = (at - start) / max(end - start, timedelta(seconds=1))
        return LEFT + min(max(share, 0.0), 1.0) * (WIDTH - LEFT - RIGHT)

    parts = [part for stretch in stretches for part in _bar(x(stretch.start), x(stretch.end), stretch)]
    if window:
        parts += _window(x(window[0]) if window[0] else LEFT, x(window[1]), window, clock)
    if mark:
        parts += _mark(x(mark.at), mark, height)
    ticks = scales.instants(clock.local(start), clock.local(end))
    parts += _axis([(x(at), clock.tick(at)) for at in ticks], height)
    return svg.picture(WIDTH, height, "Times of the delivery", parts)


def _bounds(
    stretches: Sequence[Stretch], window: tuple[datetime | None, datetime] | None, mark: Mark | None
) -> tuple[datetime, datetime]:
    """A window far away would leave nothing to see of the work: then it is cut off."""
    starts = [stretch.start for stretch in stretches]
    ends = [stretch.end for stretch in stretches] + ([mark.at] if mark else [])
    start, end = min(starts), max(ends)
    room = max(end - start, timedelta(hours=1)) * 2
    if window:
        start = max(min(start, window[0] or window[1]), start - room)
        end = min(max(end, window[1]), end + room)
    margin = (end - start) / 40
    return start - margin, end + margin


def _bar(x: float, to_x: float, stretch: Stretch) -> Iterator[Markup]:
    yield svg.box(x, BAR_Y, max(to_x - x, 1.5), BAR_HEIGHT, stretch.colour)
    if to_x - x >= LEAST_LABELLED:
        middle = (x + to_x) / 2
        yield svg.label(middle, BAR_Y + 16, stretch.title, anchor="middle", fill="#ffffff")


def _window(
    x: float, to_x: float, window: tuple[datetime | None, datetime], clock: Clock
) -> Iterator[Markup]:
    since = f"{clock.time(window[0])[:5]} – " if window[0] else "until "  # noqa: RUF001
    words = f"agreed: {since}{clock.time(window[1])[:5]}"
    yield svg.box(x, WINDOW_Y, to_x - x, 10.0, svg.GOOD, fill_opacity=0.25, rx=2)
    yield svg.rule(to_x, BAR_Y - 4, to_x, WINDOW_Y + 10, svg.GOOD, stroke_dasharray="4 3", stroke_width=1.5)
    is_right = to_x > WIDTH / 2
    yield svg.label(to_x, WINDOW_Y + 23, words, anchor="end" if is_right else "start", fill=svg.GOOD)


def _mark(x: float, mark: Mark, height: float) -> Iterator[Markup]:
    yield svg.rule(x, BAR_Y - 6, x, height - 20, mark.colour, stroke_width=2)
    anchor = "end" if x > WIDTH - 110 else "start" if x < 110 else "middle"
    yield svg.label(x, 12, mark.title, anchor=anchor, fill=mark.colour, font_weight="bold", font_size=13.5)


def _axis(ticks: Sequence[tuple[float, str]], height: float) -> Iterator[Markup]:
    yield svg.rule(LEFT, height - 20, WIDTH - RIGHT, height - 20)
    for x, words in ticks:
        yield svg.rule(x, height - 20, x, height - 16, svg.MUTED)
        anchor = "end" if x > WIDTH - 20 else "start" if x < 20 else "middle"
        yield svg.label(x, height - 5, words, anchor=anchor)
