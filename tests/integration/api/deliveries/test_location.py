"""The REST fallback for drivers without MQTT: stored by the same call, announced after the commit."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from api.live import Live
from core.rules.enums import Status
from core.rules.facts import PositionFact
from core.settings import Settings
from tests.support.api_client import House, assert_bad_field, assert_problem, bearer, furnish

FIX = {"latitude": 52.5, "longitude": 13.3, "speed_kmh": 36.0}


@pytest.fixture
def house(session: Session) -> House:
    return furnish(session, Status.IN_TRANSIT)


def positions(session: Session) -> list[Any]:
    session.rollback()
    return list(
        session.execute(text("SELECT vehicle_id, latitude, longitude, speed_kmh FROM position")).all()
    )


@pytest.mark.parametrize("who", ["driver", "manager"])
@pytest.mark.parametrize("slash", ["", "/"])
def test_location_is_stored_with_an_eta(
    client: TestClient, house: House, settings: Settings, session: Session, who: str, slash: str
) -> None:
    answer = client.post(
        f"/deliveries/{house.delivery.id}/location{slash}",
        json=FIX,
        headers=bearer(settings, getattr(house, who)),
    )
    assert answer.status_code == 201, answer.text
    assert answer.json()["result"] == "stored"
    assert datetime.fromisoformat(answer.json()["eta"]) > datetime.now(UTC)
    assert positions(session) == [(house.vehicle.id, 52.5, 13.3, 36.0)]
    checkpoints = client.get(
        f"/deliveries/{house.delivery.id}/checkpoints", headers=bearer(settings, house.driver)
    ).json()["items"]
    assert [c["kind"] for c in checkpoints] == ["status", "location"]


def test_a_repeated_fix_is_a_duplicate_and_an_older_one_changes_none(
    client: TestClient, house: House, settings: Settings, session: Session
) -> None:
    path, headers = f"/deliveries/{house.delivery.id}/location/", bearer(settings, house.driver)
    now = datetime.now(UTC)
    body = FIX | {"fix_time": now.isoformat()}
    first, again = (client.post(path, json=body, headers=headers).json() for _ in range(2))
    assert (first["result"], again["result"]) == ("stored", "duplicate")
    assert first["eta"] == again["eta"]
    older = FIX | {"latitude": 50, "fix_time": (now - timedelta(minutes=9)).isoformat()}
    late = client.post(path, json=older, headers=headers).json()
    assert (late["result"], late["eta"]) == ("stored", first["eta"])
    assert len(positions(session)) == 2
    assert session.scalar(text("SELECT position_latitude FROM vehicle")) == 52.5


def test_fact_is_published_after_the_commit_only(
    client: TestClient, house: House, settings: Settings, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    published: list[tuple[PositionFact, int]] = []

    def publish(_live: Live, facts: list[PositionFact]) -> None:
        published.extend((fact, len(positions(session))) for fact in facts)

    monkeypatch.setattr(Live, "publish", publish)
    client.post(
        f"/deliveries/{house.delivery.id}/location/", json=FIX, headers=bearer(settings, house.driver)
    )
    [(fact, rows_seen_by_others)] = published
    assert rows_seen_by_others == 1
    assert (fact.company, fact.vehicle, fact.latitude) == (house.company.slug, house.vehicle.id, 52.5)
    assert fact.deliveries == (house.delivery.id,)


@pytest.mark.parametrize("unknown", [-1, -1.0, None])
def test_minus_one_is_unknown(
    client: TestClient, house: House, settings: Settings, session: Session, unknown: float | None
) -> None:
    path, headers = f"/deliveries/{house.delivery.id}/", bearer(settings, house.driver)
    body = FIX | {"speed_kmh": unknown, "course_deg": unknown, "accuracy_m": unknown, "altitude_m": -1}
    assert client.post(f"{path}location/", json=body, headers=headers).status_code == 201
    assert positions(session) == [(house.vehicle.id, 52.5, 13.3, None)]
    seen = client.get(path, headers=headers).json()["position"]
    assert (seen["speed_kmh"], seen["course_deg"], seen["accuracy_m"]) == (None, None, None)


def test_other_spellings_of_a_fix_time_are_the_same_fix(
    client: TestClient, house: House, settings: Settings
) -> None:
    path, headers = f"/deliveries/{house.delivery.id}/location/", bearer(settings, house.driver)
    at = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=1)
    east = at.astimezone(timezone(timedelta(hours=2)))
    spellings = [
        f"{at:%Y-%m-%dT%H:%M:%S}.000000999Z",
        f"{at:%Y-%m-%dT%H:%M:%S}+00",
        f"{at:%Y-%m-%d %H:%M:%S}z",
        f"{at:%Y%m%dT%H%M%S}Z",
        f"{east:%Y-%m-%dT%H:%M:%S}+0200",
        int(at.timestamp()),
        at.timestamp(),
    ]
    answers = [client.post(path, json=FIX | {"fix_time": one}, headers=headers).json() for one in spellings]
    assert [answer["result"] for answer in answers] == ["stored", *["duplicate"] * 6]


BAD_FIXES: list[tuple[dict[str, Any], str]] = [
    ({"latitude": 90.1}, "latitude"),
    ({"longitude": -180.1}, "longitude"),
    ({"latitude": "52.5"}, "latitude"),
    ({"latitude": True}, "latitude"),
    ({"speed_kmh": -2}, "speed_kmh"),
    ({"accuracy_m": -0.5}, "accuracy_m"),
    ({"altitude_m": -12_001}, "altitude_m"),
    ({"battery_percent": -1}, "battery_percent"),
    ({"course_deg": 361}, "course_deg"),
    ({"battery_percent": 101}, "battery_percent"),
    ({"accuracy_m": "3"}, "accuracy_m"),
    ({"fix_time": "1970-01-01T00:00:00Z"}, "fix_time"),
    ({"fix_time": "9999-01-01T00:00:00Z"}, "fix_time"),
    ({"fix_time": "2026-02-30T00:00:00Z"}, "fix_time"),
    ({"fix_time": "2026-02-20T00:00:60Z"}, "fix_time"),
    ({"fix_time": "2026-02-20T00:00:00"}, "fix_time"),
    ({"fix_time": 1772366400000}, "fix_time"),
    ({"fix_time": "1772366400"}, "fix_time"),
    ({"fix_time": True}, "fix_time"),
    ({"vehicle_id": 1}, "vehicle_id"),
]


def test_bad_fix_is_refused_by_the_name_of_its_field(
    client: TestClient, house: House, settings: Settings
) -> None:
    for fields, field in BAD_FIXES:
        path = f"/deliveries/{house.delivery.id}/location/"
        answer = client.post(path, json=FIX | fields, headers=bearer(settings, house.driver))
        assert_bad_field(answer, field)


def test_what_is_no_number_is_refused(client: TestClient, house: House, settings: Settings) -> None:
    for number in ("NaN", "Infinity", "1e999"):
        content = json.dumps(FIX | {"latitude": 0}).replace('"latitude": 0', f'"latitude": {number}')
        headers = bearer(settings, house.driver) | {"Content-Type": "application/json"}
        answer = client.post(f"/deliveries/{house.delivery.id}/location/", content=content, headers=headers)
        assert_problem(answer, 422, "InvalidValue")


def test_boundaries_and_negative_zero_are_stored(
    client: TestClient, house: House, settings: Settings, session: Session
) -> None:
    path, headers = f"/deliveries/{house.delivery.id}/location/", bearer(settings, house.driver)
    assert client.post(path, json={"latitude": 90, "longitude": 180}, headers=headers).status_code == 201
    assert client.post(path, json={"latitude": -0.0, "longitude": 1}, headers=headers).status_code == 201
    assert [str(row.latitude) for row in positions(session)] == ["90.0", "0.0"]


@pytest.mark.parametrize("status", [Status.PENDING, Status.DELIVERED])
def test_location_of_a_delivery_that_is_not_under_way_conflicts(
    client: TestClient, settings: Settings, session: Session, status: Status
) -> None:
    house = furnish(session, status)
    answer = client.post(
        f"/deliveries/{house.delivery.id}/location/", json=FIX, headers=bearer(settings, house.driver)
    )
    assert_problem(answer, 409, "Conflict")
    assert answer.json()["current"] == status.value
    assert positions(session) == []


def test_location_without_a_vehicle_conflicts(
    client: TestClient, house: House, settings: Settings, session: Session
) -> None:
    house.delivery.vehicle_id = None
    session.commit()
    answer = client.post(
        f"/deliveries/{house.delivery.id}/location/", json=FIX, headers=bearer(settings, house.driver)
    )
    assert_problem(answer, 409, "Conflict")


def test_missing_month_is_made_and_the_client_may_retry(
    client: TestClient, house: House, settings: Settings, session: Session
) -> None:
    month = f"position_{datetime.now(UTC):%Y_%m}"
    session.execute(text(f"DROP TABLE {month}"))
    session.commit()
    path, headers = f"/deliveries/{house.delivery.id}/location/", bearer(settings, house.driver)
    answer = client.post(path, json=FIX, headers=headers)
    assert_problem(answer, 503, "Unavailable")
    assert answer.headers["retry-after"] == "1"
    assert client.post(path, json=FIX, headers=headers).status_code == 201
