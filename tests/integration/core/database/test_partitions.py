"""The months of `position`."""

from datetime import UTC, datetime

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from core.database import partitions


def test_they_reach_from_two_months_back_to_three_ahead(session: Session) -> None:
    session.execute(text("DROP TABLE position CASCADE"))
    session.execute(
        text("CREATE TABLE position (fix_time timestamptz, vehicle_id int) PARTITION BY RANGE (fix_time)")
    )
    edge = datetime(2027, 1, 31, 23, 59, 59, tzinfo=UTC)
    made = partitions.ensure(session, edge)
    assert made == [
        f"position_{month}" for month in ("2026_11", "2026_12", "2027_01", "2027_02", "2027_03", "2027_04")
    ]
    assert partitions.ensure(session, edge) == []
    assert partitions.ensure(session, datetime(2027, 2, 1, tzinfo=UTC)) == ["position_2027_05"]
    session.execute(text("INSERT INTO position VALUES ('2027-01-31 23:59:59.999999+00', 1)"))
    assert session.execute(text("SELECT count(*) FROM position_2027_01")).scalar_one() == 1


def test_months_are_found_by_their_bounds_in_any_zone(session: Session) -> None:
    now = datetime.now(UTC)
    session.execute(text("SET TIME ZONE 'Asia/Kolkata'"))
    names = session.scalars(text("SELECT inhrelid::regclass::text FROM pg_inherits")).all()
    for name in names:
        if name.startswith("position_2"):
            session.execute(text(f"ALTER TABLE {name} RENAME TO renamed_{name}"))
    assert partitions.ensure(session, now) == []


def test_a_table_that_is_not_ours_to_partition_is_left_alone(session: Session) -> None:
    session.execute(text("ALTER TABLE position RENAME TO partitioned"))
    session.execute(text("CREATE TABLE position (LIKE partitioned)"))
    assert partitions.ensure(session, datetime.now(UTC)) == []


@pytest.mark.parametrize(
    ("months", "expected"), [(0, (2026, 12)), (1, (2027, 1)), (-12, (2025, 12)), (13, (2028, 1))]
)
def test_a_months_start_crosses_years(months: int, expected: tuple[int, int]) -> None:
    start = partitions.month_start(datetime(2026, 12, 31, 23, 59, tzinfo=UTC), months)
    assert (start.year, start.month, start.day) == (*expected, 1)
