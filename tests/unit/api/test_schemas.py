"""What clients may send, and how it is taken apart."""

from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from api.schemas.deliveries import DeliveryPatch
from api.schemas.fields import Instant, Latitude, Line, PathId, RowId, TextInstant
from api.schemas.places import flat
from api.schemas.tracking import LocationIn

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("field", "value", "read"),
    [
        (Instant, "2026-03-01T12:00:00Z", NOON),
        (Instant, "2026-03-01 14:00:00+02:00", NOON),
        (Instant, "2026-03-01T12:00:00+00", NOON),
        (Instant, "2026-03-01t14:00:00.000000999+0200", NOON),
        (Instant, 1772366400, NOON),
        (Instant, 1772366400.0, NOON),
        (TextInstant, "1772366400", NOON),
        (TextInstant, "1.7723664e+9", NOON),
        (TextInstant, "1772366400.0000001", NOON),
        (TextInstant, "20260301T120000Z", NOON),
        (Latitude, 90, 90.0),
        (Line, "  a b ", "a b"),
        (RowId, 2**31 - 1, 2**31 - 1),
        (RowId, 1.0, 1),
        (PathId, "12", 12),
    ],
)
def test_good_value_is_taken(field: Any, value: Any, read: Any) -> None:
    assert TypeAdapter(field).validate_python(value) == read


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(
            (Instant, bad)
            for bad in (NOON, True, 1e300, "5", "2026-03-01", "2026-03-01T12:00:00", "2026-02-30T00:00:00Z")
        ),
        *((Instant, bad) for bad in ("0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00", "now", None)),
        *((TextInstant, bad) for bad in ("2026-03-01T12:00:00 02:00", "1772366400000", "-", "", 5, None)),
        *((Latitude, bad) for bad in (90.1, True, "1", float("nan"), float("inf"), 10**400, None)),
        *((Line, bad) for bad in ("", "  ", "a\nb", "a\0b", "\ud800", "x" * 201, 5, None)),
        *((RowId, bad) for bad in (0, -1, 2**31, True, 1.5, float("inf"), "1", None)),
        *((PathId, bad) for bad in ("0", "01", "+1", " 1", "1_0", "٣", "", "9" * 11, str(2**31))),
    ],
)
def test_bad_value_is_refused(field: Any, value: Any) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(field).validate_python(value)


def test_patch_distinguishes_absent_from_null() -> None:
    patch = DeliveryPatch.model_validate({"driver_id": None, "pickup": {"address": "A"}})
    assert flat(patch.sent()) == {
        "driver_id": None,
        "pickup_address": "A",
        "pickup_latitude": None,
        "pickup_longitude": None,
    }
    assert DeliveryPatch.model_validate({}).sent() == {}


def test_location_without_a_time_is_of_now_and_rounded() -> None:
    fix = LocationIn(latitude=-0.00000001, longitude=13.123456789).fix(NOON)
    assert (fix.fix_time, str(fix.latitude), fix.longitude) == (NOON, "0.0", 13.1234568)
