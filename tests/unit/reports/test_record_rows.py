"""Who wrote a checkpoint, in words: by name for staff, by kind for customers."""

from typing import Any

import pytest

from core.models.delivery import DeliveryCheckpoint
from core.reporting.record_names import Names
from reports.pages import record_rows

NAMES = Names(users={1: "Mira"}, drivers={2: "Dora"}, devices={"k3v9x0q2ma": "Unit"}, tokens={3: "Shop"})


@pytest.mark.parametrize(
    ("actor", "named", "kind"),
    [
        ({"actor_user_id": 1}, "Mira (office)", "office"),
        ({"actor_user_id": 9, "actor_driver_id": 2}, "Dora (driver)", "driver"),
        ({"actor_device_id": "k3v9x0q2ma"}, "Unit (device)", "device"),
        ({"actor_api_token_id": 3}, "Shop (integration)", "integration"),
        ({"actor_user_id": 9}, "office", "office"),
        ({}, "–", "–"),  # noqa: RUF001
    ],
)
def test_actor_is_named_where_names_are_given(actor: dict[str, Any], named: str, kind: str) -> None:
    checkpoint = DeliveryCheckpoint(**actor)
    assert record_rows.actor_words(checkpoint, NAMES) == named
    assert record_rows.actor_words(checkpoint, Names()) == kind
