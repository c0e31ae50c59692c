"""SVG as text that is safe to embed in a page: every value is escaped."""

from collections.abc import Iterable

from markupsafe import Markup, escape

FONT = "'Liberation Sans', Arial, 'DejaVu Sans', sans-serif"
INK, MUTED, LINE, TINT, ACCENT = "#16202c", "#5b6b7b", "#d5dde5", "#f3f6f9", "#0b6e99"
GOOD, LATE, BAD, NEUTRAL = "#2b8a57", "#d98c1f", "#c0392b", "#7d8b99"


def element(name: str, *children: str, **attributes: object) -> Markup:
    """Return an element; ``stroke_width=2`` becomes ``stroke-width="2"``, None omits an attribute."""
    written = "".join(
        f' {key.replace("_", "-").strip("-")}="{escape(_value(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    inner = "".join(escape(child) for child in children)
    return Markup(f"<{name}{written}>{inner}</{name}>" if inner else f"<{name}{written}/>")  # noqa: S704


def picture(width: float, height: float, title: str, parts: Iterable[str]) -> Markup:
    """Return a drawing with an accessible title."""
    return element(
        "svg",
        element("title", title),
        *parts,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {_value(width)} {_value(height)}",
        width=width,
        height=height,
        role="img",
        font_family=FONT,
        font_size=12.5,
    )


def label(
    x: float, y: float, words: str, *, anchor: str = "start", fill: str = MUTED, **more: object
) -> Markup:
    return element("text", words, x=x, y=y, text_anchor=anchor, fill=fill, **more)


def rule(x: float, y: float, to_x: float, to_y: float, colour: str = LINE, **more: object) -> Markup:
    return element("line", x1=x, y1=y, x2=to_x, y2=to_y, stroke=colour, **more)


def box(x: float, y: float, width: float, height: float, fill: str, **more: object) -> Markup:
    return element("rect", x=x, y=y, width=max(width, 0.0), height=max(height, 0.0), fill=fill, **more)


def icon(mark: str) -> Markup:
    """Return an icon as high as a line of text, drawn in a square of 14."""
    return element("svg", mark, xmlns="http://www.w3.org/2000/svg", width=14, height=14, viewBox="0 0 14 14")


def path(points: Iterable[tuple[float, float]]) -> str:
    """Return the ``d`` of a path that joins the points by straight lines."""
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)


def _value(value: object) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
