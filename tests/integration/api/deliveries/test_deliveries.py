"""Creating, listing, editing deliveries, their status, their record and report."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from core.models.delivery import Delivery, DeliveryCheckpoint
from core.models.record import Outbox
from core.rules.enums import CheckpointKind, Status
from core.settings import Settings
from tests.support import factories
from tests.support.api_client import House, assert_bad_field, assert_problem, bearer, furnish


def new_delivery(house: House, **fields: Any) -> dict[str, Any]:
    return {
        "reference": "ORDER-1",
        "customer_id": house.customer.customer_id,
        "pickup": {"address": "A street 1", "latitude": 52.5, "longitude": 13.4},
        "dropoff": {"address": "B street 2"},
    } | fields


def status_checkpoints(session: Session, delivery_id: int) -> int:
    session.rollback()
    return (
        session.scalar(
            select(func.count()).where(
                DeliveryCheckpoint.delivery_id == delivery_id,
                DeliveryCheckpoint.kind == CheckpointKind.STATUS,
            )
        )
        or 0
    )


@pytest.mark.parametrize("slash", ["", "/"])
def test_created_delivery_is_pending_with_its_load_and_announced(
    client: TestClient, house: House, settings: Settings, session: Session, slash: str
) -> None:
    body = new_delivery(
        house,
        items=[{"description": "Crate", "quantity": 3, "weight_kg": 1}],
        window_start="2026-03-01T12:00:00+01:00",
        window_end="2026-03-01T14:00:00+01:00",
    )
    answer = client.post(f"/deliveries{slash}", json=body, headers=bearer(settings, house.manager))
    made = answer.json()
    assert answer.status_code == 201, made
    assert answer.headers["location"] == f"/deliveries/{made['id']}/"
    assert made["status"] == "pending"
    assert made["window_start"] == "2026-03-01T11:00:00Z"
    assert made["load"]["reference"] == "ORDER-1"
    assert made["load"]["items"][0]["quantity"] == 3
    assert made["dropoff"] == {"address": "B street 2", "latitude": None, "longitude": None}
    assert client.get(answer.headers["location"], headers=bearer(settings, house.customer)).json() == made
    assert session.scalars(select(Outbox.kind)).all() == ["status"]


BAD_FIELDS: list[tuple[dict[str, Any], str]] = [
    ({"status": "delivered"}, "status"),
    ({"reference": "  "}, "reference"),
    ({"reference": "a\0b"}, "reference"),
    ({"reference": 5}, "reference"),
    ({"customer_id": True}, "customer_id"),
    ({"customer_id": "1"}, "customer_id"),
    ({"customer_id": 2**31}, "customer_id"),
    ({"customer_id": 2**31 - 1}, "customer_id"),
    ({"pickup": {"address": "a", "latitude": 1}}, "pickup"),
    ({"pickup": {"address": "a", "latitude": 91, "longitude": 0}}, "pickup.latitude"),
    ({"pickup": {"address": "a", "latitude": True, "longitude": 0}}, "pickup.latitude"),
    ({"window_start": "2026-03-01T12:00:00"}, "window_start"),
    ({"window_start": 1772366400000}, "window_start"),
    ({"window_start": "9999-12-31T23:59:59-23:00"}, "window_start"),
    ({"window_start": "2026-03-01T12:00:00Z", "window_end": "2026-03-01T12:00:00Z"}, "window_end"),
    ({"window_start": "2026-03-01T12:00:00Z", "window_end": "2027-03-02T12:00:01Z"}, "window_end"),
    ({"items": [], "load_order_id": None}, "items"),
    ({"items": [{"description": "x", "quantity": 0}]}, "items.0.quantity"),
    ({"items": [{"description": "x", "weight_kg": -1}]}, "items.0.weight_kg"),
]


def test_bad_field_is_named(client: TestClient, house: House, settings: Settings) -> None:
    for fields, field in BAD_FIELDS:
        body = new_delivery(house, **fields)
        answer = client.post("/deliveries/", json=body, headers=bearer(settings, house.manager))
        assert_bad_field(answer, field)


def test_list_is_newest_first_in_pages_and_filtered(
    client: TestClient, house: House, settings: Settings, session: Session
) -> None:
    other = factories.vehicle(session, house.company)
    made = [
        factories.delivery(session, house.company, Status.IN_TRANSIT, vehicle_id=other.id) for _ in range(4)
    ]
    session.commit()
    headers = bearer(settings, house.operator)
    expected = [row.id for row in reversed(made)] + [house.delivery.id]
    seen, query = [], {"limit": "2"}
    while True:
        page = client.get("/deliveries", params=query, headers=headers).json()
        seen += [item["id"] for item in page["items"]]
        if page["next"] is None:
            break
        query["cursor"] = page["next"]
    assert seen == expected

    def found(**filters: Any) -> list[int]:
        return [d["id"] for d in client.get("/deliveries/", params=filters, headers=headers).json()["items"]]

    assert found(status="pending") == [house.delivery.id]
    assert found(vehicle_id=other.id, limit=200) == expected[:4]
    assert found(vehicle_id=other.id, status="pending") == []
    assert found(driver_id=house.driver.driver_id) == [house.delivery.id]
    assert found(customer_id=house.customer.customer_id) == [house.delivery.id]


BAD_QUERIES: list[tuple[dict[str, str], str]] = [
    ({"limit": "0"}, "limit"),
    ({"limit": "201"}, "limit"),
    ({"cursor": "!!"}, "cursor"),
    ({"cursor": "YWJj"}, "cursor"),
    ({"cursor": "OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk"}, "cursor"),
    ({"status": "lost"}, "status"),
    ({"driver_id": "x"}, "driver_id"),
    ({"colour": "red"}, "colour"),
]


def test_bad_query_is_named(client: TestClient, house: House, settings: Settings) -> None:
    for query, field in BAD_QUERIES:
        answer = client.get("/deliveries/", params=query, headers=bearer(settings, house.manager))
        assert_bad_field(answer, field)


def test_edits_refuse_fields_that_are_not_theirs(
    client: TestClient, house: House, settings: Settings
) -> None:
    for field in ("company_id", "role", "id", "status", "version", "created_at", "items"):
        for method in ("PATCH", "PUT"):
            body = (new_delivery(house) if method == "PUT" else {}) | {field: 1}
            answer = client.request(
                method,
                f"/deliveries/{house.delivery.id}/",
                json=body,
                headers=bearer(settings, house.manager),
            )
            assert_bad_field(answer, field)


def test_patch_changes_only_what_is_sent_and_put_all(
    client: TestClient, house: House, settings: Settings
) -> None:
    headers, path = bearer(settings, house.manager), f"/deliveries/{house.delivery.id}/"
    before = client.get(path, headers=headers).json()
    patched = client.patch(path, json={"dropoff": {"address": "C"}}, headers=headers).json()
    assert patched == before | {
        "dropoff": {"address": "C", "latitude": None, "longitude": None},
        "version": 2,
    }
    assert client.patch(path, json={}, headers=headers).json()["version"] == 2
    replaced = client.put(path, json=new_delivery(house), headers=headers).json()
    assert replaced["reference"] == "ORDER-1"
    assert replaced["driver_id"] is None
    assert_problem(client.patch(path, json={"reference": None}, headers=headers), 422, "InvalidValue")


def test_assignment_leaves_a_checkpoint(client: TestClient, house: House, settings: Settings) -> None:
    headers, path = bearer(settings, house.manager), f"/deliveries/{house.delivery.id}"
    assert client.patch(path, json={"vehicle_id": None}, headers=headers).status_code == 200
    items = client.get(f"{path}/checkpoints", headers=headers).json()["items"]
    assert [item["kind"] for item in items] == ["status", "assignment"]
    assert items[1]["actor"] == {
        "kind": "user",
        "user_id": house.manager.id,
        "driver_id": None,
        "device_id": None,
        "api_token_id": None,
    }


def test_checkpoints_come_in_pages_in_order(
    client: TestClient, house: House, settings: Settings, session: Session
) -> None:
    for _ in range(4):
        factories.checkpoint(session, house.delivery)
    session.commit()
    headers, path = bearer(settings, house.driver), f"/deliveries/{house.delivery.id}/checkpoints/"
    first = client.get(path, params={"limit": 3}, headers=headers).json()
    second = client.get(path, params={"limit": 3, "cursor": first["next"]}, headers=headers).json()
    seen = [item["id"] for item in first["items"] + second["items"]]
    assert seen == sorted(seen)
    assert len(seen) == 5
    assert second["next"] is None


def test_life_of_a_delivery_and_its_report(
    client: TestClient, house: House, settings: Settings, session: Session
) -> None:
    """Of twenty minutes: faster, its way would be a receiver's error."""
    an_hour_ago = datetime.now(UTC) - timedelta(hours=1)
    session.execute(update(DeliveryCheckpoint).values(occurred_at=an_hour_ago))
    session.execute(update(Delivery).values(vehicle_since=an_hour_ago))
    session.commit()
    headers, path = bearer(settings, house.driver), f"/deliveries/{house.delivery.id}"
    minutes_ago = {"pickup_in_progress": 20, "in_transit": 5, "delivered": 0}
    for status, minutes in minutes_ago.items():
        at = (datetime.now(UTC) - timedelta(minutes=minutes)).isoformat()
        body = {"status": status, "occurred_at": at, "location": {"latitude": 52.5, "longitude": 13.4}}
        answer = client.post(f"{path}/status", json=body, headers=headers)
        assert answer.status_code == 200, answer.text
        assert answer.json()["result"] == "changed"
        assert answer.json()["checkpoint"]["latitude"] == 52.5
        if status != "delivered":
            fix = {"latitude": 52.5 if status == "in_transit" else 52.4, "longitude": 13.4, "fix_time": at}
            assert client.post(f"{path}/location", json=fix, headers=headers).status_code == 201
    report = client.get(f"{path}/report", headers=headers).json()
    assert [phase["status"] for phase in report["phases"]] == ["pending", "pickup_in_progress", "in_transit"]
    assert all(phase["ended_at"] for phase in report["phases"])
    assert report["driven"]["fixes"] == 2
    assert report["driven"]["distance_m"] == pytest.approx(11_119.5, rel=1e-3)
    assert report["counts"] == {"status": 4, "assignment": 0, "location": 2, "proof": 0}
    assert len(report["route"]) == 2
    detail = client.get(path, headers=headers).json()
    assert (detail["position"], detail["eta"]) == (None, None)
    back = client.post(f"{path}/status", json={"status": "in_transit"}, headers=headers)
    assert_problem(back, 409, "InvalidTransition")
    assert (back.json()["current"], back.json()["allowed"]) == ("delivered", [])
    assert_problem(
        client.patch(path, json={"reference": "x"}, headers=bearer(settings, house.manager)), 409, "Conflict"
    )


def test_same_status_by_the_same_person_writes_nothing(
    client: TestClient, house: House, settings: Settings, session: Session
) -> None:
    path, body = f"/deliveries/{house.delivery.id}/status/", {"status": "pickup_in_progress"}
    first = client.post(path, json=body, headers=bearer(settings, house.driver))
    again = client.post(path, json=body, headers=bearer(settings, house.driver))
    assert (first.status_code, again.status_code) == (200, 200)
    assert again.json()["result"] == "unchanged"
    assert again.json()["checkpoint"] == first.json()["checkpoint"]
    assert status_checkpoints(session, house.delivery.id) == 2
    other = client.post(path, json=body, headers=bearer(settings, house.manager))
    assert_problem(other, 409, "InvalidTransition")
    assert other.json()["allowed"] == ["in_transit", "failed"]


def test_of_two_people_at_once_one_wins(
    client: TestClient, house: House, settings: Settings, session: Session
) -> None:
    path, body = f"/deliveries/{house.delivery.id}/status/", {"status": "pickup_in_progress"}
    people = [bearer(settings, house.driver), bearer(settings, house.manager)]
    with ThreadPoolExecutor(2) as threads:
        answers = list(threads.map(lambda headers: client.post(path, json=body, headers=headers), people))
    assert sorted(answer.status_code for answer in answers) == [200, 409]
    assert status_checkpoints(session, house.delivery.id) == 2
    loser = next(answer for answer in answers if answer.status_code == 409)
    assert loser.json()["allowed"] == ["in_transit", "failed"]


def test_of_one_persons_two_clicks_at_once_one_is_written(
    client: TestClient, house: House, settings: Settings, session: Session
) -> None:
    path, body = f"/deliveries/{house.delivery.id}/status/", {"status": "pickup_in_progress"}
    headers = bearer(settings, house.driver)
    with ThreadPoolExecutor(2) as threads:
        answers = list(threads.map(lambda _: client.post(path, json=body, headers=headers), range(2)))
    assert [answer.status_code for answer in answers] == [200, 200]
    assert sorted(answer.json()["result"] for answer in answers) == ["changed", "unchanged"]
    assert status_checkpoints(session, house.delivery.id) == 2


BAD_STATUS_REQUESTS: list[tuple[dict[str, Any], str]] = [
    ({"status": "failed"}, "reason"),
    ({"status": "lost"}, "status"),
    ({"status": "failed", "reason": "x", "occurred_at": "2020-01-01T00:00:00Z"}, "occurred_at"),
    ({"status": "failed", "reason": "x", "location": {"latitude": 1}}, "location.longitude"),
    ({"status": "failed", "reason": "x", "who": "me"}, "who"),
]


def test_bad_status_request_is_named(client: TestClient, house: House, settings: Settings) -> None:
    for body, field in BAD_STATUS_REQUESTS:
        path = f"/deliveries/{house.delivery.id}/status/"
        answer = client.post(path, json=body, headers=bearer(settings, house.driver))
        assert_bad_field(answer, field)


def test_offline_phones_time_is_kept_beside_ours(
    client: TestClient, house: House, settings: Settings, session: Session
) -> None:
    happened = datetime.now(UTC) - timedelta(hours=3)
    session.execute(text("UPDATE delivery_checkpoint SET occurred_at = :at"), {"at": happened - timedelta(1)})
    session.commit()
    body = {"status": "failed", "reason": "closed", "occurred_at": happened.isoformat()}
    path = f"/deliveries/{house.delivery.id}/status/"
    checkpoint = client.post(path, json=body, headers=bearer(settings, house.driver)).json()["checkpoint"]
    assert datetime.fromisoformat(checkpoint["occurred_at"]) == happened
    assert datetime.fromisoformat(checkpoint["recorded_at"]) > happened + timedelta(hours=2)


def test_the_record_stays_in_order_whatever_a_phones_clock_says(
    client: TestClient, house: House, settings: Settings
) -> None:
    """Or a late delivery would become "on time" by a backdated end."""
    long_ago = (datetime.now(UTC) - timedelta(days=2)).isoformat()
    path = f"/deliveries/{house.delivery.id}/"
    before = client.get(f"{path}checkpoints/", headers=bearer(settings, house.manager)).json()["items"][-1]
    body = {"status": "failed", "reason": "closed", "occurred_at": long_ago}
    checkpoint = client.post(f"{path}status/", json=body, headers=bearer(settings, house.driver)).json()
    assert checkpoint["checkpoint"]["occurred_at"] == before["occurred_at"]


def test_an_earlier_request_sent_again_by_a_phone_writes_nothing(
    client: TestClient, house: House, settings: Settings, session: Session
) -> None:
    delivery = factories.delivery(
        session, house.company, vehicle_id=house.delivery.vehicle_id, driver_id=house.delivery.driver_id
    )
    session.commit()
    path = f"/deliveries/{delivery.id}/status/"
    at = datetime.now(UTC).isoformat()
    pickup = {"status": "pickup_in_progress", "occurred_at": at}
    results = [
        client.post(path, json=body, headers=bearer(settings, house.driver))
        for body in (pickup, {"status": "in_transit"}, pickup, {"status": "pickup_in_progress"})
    ]
    assert [answer.status_code for answer in results] == [200, 200, 200, 409]
    assert [answer.json().get("result") for answer in results[:3]] == ["changed", "changed", "unchanged"]


def spellings(at: datetime) -> list[str]:
    """One instant as different phones, or one phone's two libraries, write it."""
    east = at.astimezone(timezone(timedelta(hours=5, minutes=30)))
    return [
        at.isoformat(),
        f"{at:%Y-%m-%dT%H:%M:%S.%f}999Z",
        f"{east:%Y-%m-%d %H:%M:%S.%f}+0530",
    ]


@pytest.mark.parametrize(
    "skew",
    [timedelta(seconds=0.2), timedelta(minutes=4), timedelta(seconds=-0.5), timedelta(days=-2)],
    ids=["a bit fast", "fast", "a bit slow", "slow"],
)
def test_a_status_sent_again_is_known_whatever_the_phones_clock_says(
    client: TestClient, house: House, settings: Settings, session: Session, skew: timedelta
) -> None:
    delivery = factories.delivery(
        session, house.company, vehicle_id=house.delivery.vehicle_id, driver_id=house.delivery.driver_id
    )
    session.commit()
    path, headers = f"/deliveries/{delivery.id}/status/", bearer(settings, house.driver)
    sent = {
        status: spellings(datetime.now(UTC) + skew + timedelta(milliseconds=number))
        for number, status in enumerate(("pickup_in_progress", "in_transit", "delivered"))
    }

    def send(status: str, occurred_at: str) -> str:
        body = {"status": status, "occurred_at": occurred_at}
        answer = client.post(path, json=body, headers=headers).json()
        return str(answer.get("result", answer))

    for done, (status, texts) in enumerate(sent.items(), 1):
        assert send(status, texts[0]) == "changed"
        for earlier, again in list(sent.items())[:done]:
            assert [send(earlier, text) for text in again] == ["unchanged"] * len(again)
    another = (datetime.now(UTC) + skew + timedelta(seconds=1)).isoformat()
    assert "InvalidTransition" in send("pickup_in_progress", another)
    count = "SELECT count(*) FROM delivery_checkpoint WHERE delivery_id = :id AND kind = 'status'"
    assert session.scalar(text(count), {"id": delivery.id}) == 4  # "pending" is one


def test_a_status_of_before_is_known_by_what_was_stored(
    client: TestClient, house: House, settings: Settings, session: Session
) -> None:
    path, headers = f"/deliveries/{house.delivery.id}/status/", bearer(settings, house.driver)
    pickup = {"status": "pickup_in_progress", "occurred_at": datetime.now(UTC).isoformat()}
    assert client.post(path, json=pickup, headers=headers).json()["result"] == "changed"
    assert client.post(path, json={"status": "in_transit"}, headers=headers).json()["result"] == "changed"
    session.execute(text("UPDATE delivery_checkpoint SET occurred_at_sent = NULL"))  # as 0.1.0 wrote it
    session.commit()
    assert client.post(path, json=pickup, headers=headers).json()["result"] == "unchanged"


def test_pickup_needs_a_driver_and_a_vehicle(
    client: TestClient, house: House, settings: Settings, session: Session
) -> None:
    delivery = factories.delivery(session, house.company)
    session.commit()
    answer = client.post(
        f"/deliveries/{delivery.id}/status/",
        json={"status": "pickup_in_progress"},
        headers=bearer(settings, house.manager),
    )
    assert_problem(answer, 409, "Conflict")
    assert answer.json()["missing"] == ["driver_id", "vehicle_id"]


def test_position_from_before_the_start_is_not_shown(
    client: TestClient, settings: Settings, session: Session
) -> None:
    house = furnish(session, Status.IN_TRANSIT)
    house.vehicle.position_time = datetime.now(UTC) - timedelta(hours=1)
    house.vehicle.position_latitude, house.vehicle.position_longitude = 52.5, 13.4
    session.commit()
    path, headers = f"/deliveries/{house.delivery.id}/", bearer(settings, house.customer)
    assert client.get(path, headers=headers).json()["position"] is None
    house.vehicle.position_time = datetime.now(UTC)
    session.commit()
    assert client.get(path, headers=headers).json()["position"]["longitude"] == 13.4
    session.get_one(Delivery, house.delivery.id).status = Status.DELIVERED
    session.commit()
    assert client.get(path, headers=headers).json()["position"] is None
