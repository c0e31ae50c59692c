"""Zones that this machine does not know are UTC, whatever reads them."""

import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfoNotFoundError

import pytest

from core.accounts import companies
from core.errors import InvalidValue
from core.rules.times import time_zones
from reports.pages.clock import Clock

PROJECT = Path(__file__).parents[4]
NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)
UNKNOWN = [
    "Mars/Olympus",
    "",
    "Europe",
    "../etc/passwd",
    "/etc/localtime",
    "Eu\0rope",
    "x" * 300,
    "Größe",
    "\ud800",
]


@pytest.mark.parametrize("name", UNKNOWN)
def test_zone_that_this_machine_does_not_know_is_utc(name: str) -> None:
    assert time_zones.zone_of(name) is UTC
    assert time_zones.day_bounds(date(2026, 7, 1), name)[0] == NOON - timedelta(hours=12)
    clock = Clock(name, [NOON])
    assert clock.both(NOON) == "1 Jul 2026, 12:00"
    assert clock.title == f"UTC (this server does not know the time zone {name})"


def test_unknown_zone_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        time_zones.zone_of("Mars/Utopia")
    assert [record.message for record in caplog.records] == ["time_zone_unknown name='Mars/Utopia' used=UTC"]


def test_utc_needs_no_database_of_zones(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise ZoneInfoNotFoundError(name)

    monkeypatch.setattr(time_zones, "ZoneInfo", absent)
    monkeypatch.setattr(time_zones, "available_timezones", set)
    assert time_zones.zone_of("UTC") is UTC
    assert Clock("UTC", [NOON]).title == "UTC (UTC+00:00)"
    companies.require_time_zone("UTC")
    with pytest.raises(InvalidValue):
        companies.require_time_zone("Europe/Berlin")


def test_one_module_alone_looks_zones_up() -> None:
    folders = ("core", "formats", "broker", "reports", "ingest", "api", "jobs", "local", "cli")
    found = [
        path.relative_to(PROJECT).as_posix()
        for folder in folders
        for path in sorted((PROJECT / folder).rglob("*.py"))
        if re.search(r"\bzoneinfo\b", path.read_text())
    ]
    assert found == ["core/rules/times/time_zones.py"]


@pytest.mark.parametrize(
    ("instant", "is_ambiguous"),
    [
        (datetime(2026, 10, 25, 0, 30, tzinfo=UTC), True),
        (datetime(2026, 10, 25, 1, 30, tzinfo=UTC), True),
        (datetime(2026, 10, 25, 2, 0, tzinfo=UTC), False),
        (datetime(2026, 3, 29, 1, 0, tzinfo=UTC), False),
        (NOON, False),
    ],
)
def test_times_that_come_twice_are_ambiguous(instant: datetime, is_ambiguous: bool) -> None:
    local = time_zones.local_time(instant, time_zones.zone_of("Europe/Berlin"))
    assert time_zones.is_ambiguous(local) is is_ambiguous
