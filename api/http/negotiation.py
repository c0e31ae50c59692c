"""Content negotiation: choose the media type that a client prefers (RFC 9110, section 12.5.1)."""

import re
from collections.abc import Sequence

from core.errors import DomainError

MAXIMUM_RANGES = 50
_WEIGHT = re.compile(r"0(\.\d{0,3})?|1(\.0{0,3})?", re.ASCII)


class NotAcceptable(DomainError):
    status_code = 406
    title = "None of the formats is acceptable"

    def __init__(self, offered: Sequence[str]) -> None:
        super().__init__(f"Accept one of: {', '.join(offered)}.", offered=list(offered))


def best(accept: str | None, offered: Sequence[str]) -> str:
    """Return the offered media type with the highest weight; of equals the first. Raises `NotAcceptable`."""
    if not accept or not accept.strip():
        return offered[0]
    ranges = [_range(part) for part in accept.split(",")[:MAXIMUM_RANGES]]
    weighed = [(_weight(media_type, ranges), -place) for place, media_type in enumerate(offered)]
    weight, place = max(weighed)
    if weight <= 0:
        raise NotAcceptable(offered)
    return offered[-place]


def _range(text: str) -> tuple[str, float]:
    name, *parameters = (part.strip().lower() for part in text.split(";"))
    weight = next((one[2:].strip() for one in parameters if one.startswith("q=")), "1")
    return name, float(weight) if _WEIGHT.fullmatch(weight) else 0.0


def _weight(media_type: str, ranges: Sequence[tuple[str, float]]) -> float:
    """Return the weight of ``media_type`` in ``Accept``."""
    # The most specific matching range decides: ``text/csv;q=0, */*`` does not accept CSV.
    group = media_type.partition("/")[0]
    for pattern in (media_type, f"{group}/*", "*/*"):
        weights = [weight for name, weight in ranges if name == pattern]
        if weights:
            return max(weights)
    return 0.0
