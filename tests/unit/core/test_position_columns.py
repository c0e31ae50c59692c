"""A new field of a fix is complete: it is decoded, checked and stored."""

import msgspec

from core.positions.columns import FIX_COLUMNS
from core.rules.fix import FLAGS, MEASUREMENTS, RANGES, Fix
from formats.native import PlainFix


def test_each_measurement_has_a_range_or_is_a_flag() -> None:
    assert {*[name for name, _low, _high in RANGES], *FLAGS} == set(MEASUREMENTS)


def test_each_field_of_a_fix_has_a_column() -> None:
    assert {*FIX_COLUMNS, "attributes", "message_id"} == set(Fix.__struct_fields__)


def test_the_fast_decoder_knows_each_measurement() -> None:
    assert set(MEASUREMENTS) <= {field.name for field in msgspec.structs.fields(PlainFix)}
