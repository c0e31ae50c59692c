"""The domain's terms as users read them."""

from collections.abc import Mapping

from core.rules.enums import Status
from reports.charts import svg

STATUS = {
    Status.PENDING: "Pending",
    Status.PICKUP_IN_PROGRESS: "Pickup in progress",
    Status.IN_TRANSIT: "In transit",
    Status.DELIVERED: "Delivered",
    Status.RETURNED: "Returned",
    Status.FAILED: "Failed",
}
# Phases are the periods between two status changes, named after the activity.
PHASE = STATUS | {Status.PENDING: "Waiting", Status.PICKUP_IN_PROGRESS: "Pickup"}
COLOURS: Mapping[Status, str] = {
    Status.PENDING: svg.NEUTRAL,
    Status.PICKUP_IN_PROGRESS: "#4d8fac",
    Status.IN_TRANSIT: svg.ACCENT,
    Status.DELIVERED: svg.GOOD,
    Status.RETURNED: svg.NEUTRAL,
    Status.FAILED: svg.BAD,
}
TONES: Mapping[Status, str] = {
    Status.DELIVERED: "good",
    Status.RETURNED: "late",
    Status.FAILED: "bad",
}


def plural(count: int, one: str, many: str | None = None) -> str:
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"
