"""A timeline of the work above the agreed window, which shows at a glance whether it was late. Pure."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

import msgspec
from markupsafe import Markup

from reports.charts import scales, svg
from reports.pages.clock import Clock

WIDTH, LEFT, RIGHT = 720.0, 4.0, 4.0
BAR_Y, BAR_HEIGHT, WINDOW_Y = 22.0, 24.0, 58.0
LEAST_LABELLED = 90.0
CHARACTER = 6.6  # mean width of a label's characters


class Stretch(msgspec.Struct, frozen=True):
    title: str
    start: datetime
    end: datetime
    colour: str


class TimeMark(msgspec.Struct, frozen=True):
    """The instant at which the work ended."""

    title: str
    at: datetime
    colour: str


class Window(msgspec.Struct, frozen=True):
    """The agreed time window: either end may be open."""

    start: datetime | None
    end: datetime | None

    @property
    def ends(self) -> list[datetime]:
        return [one for one in (self.start, self.end) if one is not None]


def draw(
    stretches: Sequence[Stretch], window: Window | None, mark: TimeMark | None, clock: Clock
) -> Markup | None:
    """Return the drawing, or None if no work has begun."""
    if not stretches:
        return None
    window = window if window and window.ends else None
    start, end = _bounds(stretches, window, mark)
    height = 108.0 if window else 74.0

    def x(at: datetime) -> float:
        share = (at - start) / max(end - start, timedelta(seconds=1))
        return LEFT + min(max(share, 0.0), 1.0) * (WIDTH - LEFT - RIGHT)

    parts = [part for stretch in stretches for part in _bar(x(stretch.start), x(stretch.end), stretch)]
    if window:
        since = x(window.start) if window.start else LEFT
        until = x(window.end) if window.end else WIDTH - RIGHT
        parts += _window(
            since, until, window, clock.window_of_day(window.start, window.end, stretches[0].start)
        )
    if mark:
        parts += _mark(x(mark.at), mark, height)
    ticks = scales.instants(clock.local(start), clock.local(end))
    parts += _axis([(x(at), clock.tick(at)) for at in ticks], height)
    return svg.picture(WIDTH, height, "Times of the delivery", parts)


def _bounds(
    stretches: Sequence[Stretch], window: Window | None, mark: TimeMark | None
) -> tuple[datetime, datetime]:
    """Return the time span to draw."""
    # A distant window would shrink the work to nothing, so it is cut off.
    starts = [stretch.start for stretch in stretches]
    ends = [stretch.end for stretch in stretches] + ([mark.at] if mark else [])
    start, end = min(starts), max(ends)
    space = max(end - start, timedelta(hours=1)) * 2
    if window:
        start, end = (
            max(min(start, *window.ends), start - space),
            min(max(end, *window.ends), end + space),
        )
    margin = (end - start) / 40
    return start - margin, end + margin


def _bar(x: float, to_x: float, stretch: Stretch) -> Iterator[Markup]:
    yield svg.box(x, BAR_Y, max(to_x - x, 1.5), BAR_HEIGHT, stretch.colour)
    if to_x - x >= LEAST_LABELLED:
        middle = (x + to_x) / 2
        yield svg.label(middle, BAR_Y + 16, stretch.title, anchor="middle", fill="#ffffff")


def _window(x: float, to_x: float, window: Window, words: str | None) -> Iterator[Markup]:
    """Draw the window as a bar, with a dashed line at its end, or at its start if the end is open."""
    edge = to_x if window.end else x
    yield svg.box(x, WINDOW_Y, to_x - x, 10.0, svg.GOOD, fill_opacity=0.25, rx=2)
    yield svg.rule(edge, BAR_Y - 4, edge, WINDOW_Y + 10, svg.GOOD, stroke_dasharray="4 3", stroke_width=1.5)
    yield _window_label(edge, f"agreed: {words}")


def _window_label(edge: float, words: str) -> Markup:
    """Place the label on the edge's side with more space, or at the left margin if it does not fit."""
    is_right = edge > WIDTH / 2
    space = edge - LEFT if is_right else WIDTH - RIGHT - edge
    if len(words) * CHARACTER > space:
        return svg.label(LEFT, WINDOW_Y + 23, words, fill=svg.GOOD)
    return svg.label(edge, WINDOW_Y + 23, words, anchor="end" if is_right else "start", fill=svg.GOOD)


def _mark(x: float, mark: TimeMark, height: float) -> Iterator[Markup]:
    yield svg.rule(x, BAR_Y - 6, x, height - 20, mark.colour, stroke_width=2)
    anchor = "end" if x > WIDTH - 110 else "start" if x < 110 else "middle"
    yield svg.label(x, 12, mark.title, anchor=anchor, fill=mark.colour, font_weight="bold", font_size=13.5)


def _axis(ticks: Sequence[tuple[float, str]], height: float) -> Iterator[Markup]:
    yield svg.rule(LEFT, height - 20, WIDTH - RIGHT, height - 20)
    for x, words in ticks:
        yield svg.rule(x, height - 20, x, height - 16, svg.MUTED)
        anchor = "end" if x > WIDTH - 20 else "start" if x < 20 else "middle"
        yield svg.label(x, height - 5, words, anchor=anchor)
