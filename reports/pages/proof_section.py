"""The proofs of delivery on the delivery's page."""

from typing import Any

from core.reporting.delivery_report import DeliveryReport
from core.reporting.shown_proofs import ProofShown
from core.rules.enums import ImageKind
from reports.pages import words
from reports.pages.clock import Clock
from reports.pictures import data_url

TITLES = {ImageKind.SIGNATURE: "Signature", ImageKind.PHOTO: "Photo"}


def values(report: DeliveryReport, clock: Clock) -> list[dict[str, Any]]:
    return [_proof(shown, clock) for shown in report.proofs or []]


def _proof(shown: ProofShown, clock: Clock) -> dict[str, Any]:
    at = clock.both(shown.fact.occurred_at)
    return {
        "recipient": shown.fact.recipient_name,
        "at": at,
        "note": shown.fact.note,
        "left_out": words.plural(shown.left_out, "more picture") if shown.left_out else None,
        "pictures": [
            {"kind": image.kind.value, "title": f"{TITLES[image.kind]}, {at}", "source": source}
            for image, content in shown.pictures
            if (source := data_url(content)) is not None
        ],
    }
