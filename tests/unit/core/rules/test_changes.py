"""An edit sets the fields that were sent, and clears those that were sent as null."""

from api.schemas.companions import VehiclePatch
from core.fleet.vehicles import VehicleChanges
from core.rules.changes import set_fields


def test_an_edit_sets_only_the_fields_that_were_sent() -> None:
    assert set_fields(VehicleChanges()) == {}
    assert set_fields(VehicleChanges(plate=None)) == {"plate": None}


def test_a_patch_becomes_an_edit_of_the_fields_sent() -> None:
    sent = VehiclePatch.model_validate({"plate": None})
    assert sent.to(VehicleChanges) == VehicleChanges(plate=None)
