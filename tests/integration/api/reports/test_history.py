"""A delivery's history: who wrote its checkpoints, and every fix of its track."""

import csv
import io
import json
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from xml.etree import ElementTree

import httpx
import psutil
import pytest
import shapely
from sqlalchemy import text
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from core.positions import intake
from core.positions.intake import Report
from core.rules.enums import CheckpointKind, Status
from core.rules.fix import Fix
from core.settings import Settings
from tests.support import factories
from tests.support.api_client import House, assert_bad_field, assert_problem, bearer, furnish
from tests.support.servers.live_server import LiveServer
from tests.support.waiting import wait_until

START = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=6)
MEGABYTE = 1024 * 1024
NO_ACTOR = {"user_id": None, "driver_id": None, "device_id": None, "api_token_id": None}


def at(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


@pytest.fixture
def house(session: Session) -> House:
    """With a delivery in transit since `START`, on the house's vehicle all the time."""
    house = furnish(session, Status.IN_TRANSIT)
    house.delivery.started_at = START
    session.execute(text("UPDATE delivery_checkpoint SET occurred_at = :at"), {"at": at(-1)})
    session.commit()
    return house


def store(session: Session, house: House, *fixes: Fix, device: str | None = None) -> None:
    report = Report(device_id=device or house.device.id, topic="t", raw=b"", items=fixes)
    intake.take(session, [report], datetime.now(UTC))
    session.commit()


def fix(minutes: float, latitude: float = 52.5, longitude: float = 13.4, **values: Any) -> Fix:
    return Fix(fix_time=at(minutes), latitude=latitude, longitude=longitude, **values)


def fill(session: Session, vehicle_id: int, count: int, skipped: int = 0) -> None:
    """One fix every 0.1 s from the start, due north in a wavy line."""
    session.execute(
        text(
            "INSERT INTO position (vehicle_id, fix_time, latitude, longitude, received_at, suspect,"
            " speed_kmh, altitude_m)"
            " SELECT :vehicle, CAST(:start AS timestamptz) + i * interval '100 milliseconds',"
            " 52 + i / 1e6, 13 + sin(i / 50.0) / 1e3, :start, false, 36.5, 34.5"
            " FROM generate_series(:skipped, :count - 1) i"
        ),
        {"vehicle": vehicle_id, "start": START, "count": count, "skipped": skipped},
    )
    session.commit()


def track_path(house: House) -> str:
    return f"/deliveries/{house.delivery.id}/track/"


def fix_times(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [one["fix_time"] for one in answer.json()["fixes"]]


# --- checkpoints ---


def test_location_checkpoint_names_the_device_its_fix_came_from(
    client: TestClient, house: House, settings: Settings, session: Session
) -> None:
    phone = factories.device(session, house.company, driver_id=house.driver.driver_id)
    session.commit()
    now = datetime.now(UTC)
    reports = [
        Report(device_id=house.device.id, topic="t", raw=b"", items=[fix(1, 52.1), fix(3, 52.3)]),
        Report(device_id=phone.id, topic="t", raw=b"", items=[fix(2, 52.2)]),
    ]
    intake.take(session, reports, now)
    session.commit()
    path = f"/deliveries/{house.delivery.id}"
    headers = bearer(settings, house.driver)
    client.post(f"{path}/location/", json={"latitude": 52.4, "longitude": 13.4}, headers=headers)
    items = client.get(f"{path}/checkpoints/", headers=headers).json()["items"]
    found = {item["latitude"]: item["actor"] for item in items if item["kind"] == "location"}
    unit = {
        "kind": "device",
        "user_id": None,
        "driver_id": None,
        "device_id": house.device.id,
        "api_token_id": None,
    }
    assert found == {
        52.1: unit,
        52.2: unit | {"device_id": phone.id},
        52.3: unit,
        52.4: NO_ACTOR | {"kind": "driver", "user_id": house.driver.id, "driver_id": house.driver.driver_id},
    }


def test_customer_sees_the_kind_of_actor_and_no_more(
    client: TestClient, house: House, settings: Settings
) -> None:
    path = f"/deliveries/{house.delivery.id}"
    body = {"status": "delivered"}
    assert (
        client.post(f"{path}/status/", json=body, headers=bearer(settings, house.driver)).status_code == 200
    )
    headers = bearer(settings, house.customer)
    checkpoints = client.get(f"{path}/checkpoints/", headers=headers).json()["items"]
    assert checkpoints[-1]["actor"] == NO_ACTOR | {"kind": "driver"}
    assert client.get(f"{path}/report/", headers=headers).json()["timeline"][-1] == checkpoints[-1]


# --- the track: which fixes ---


def test_track_is_every_fix_of_the_active_window_and_no_suspect(
    client: TestClient, house: House, settings: Settings, session: Session
) -> None:
    void = Fix(fix_time=at(4), latitude=0.0, longitude=0.0)
    store(session, house, fix(-1), fix(0, 52.1), fix(5, 52.1), fix(2, 52.1), fix(60, 52.1), fix(61), void)
    house.delivery.ended_at, house.delivery.status = at(60), Status.DELIVERED
    session.commit()
    answer = client.get(track_path(house), headers=bearer(settings, house.driver))
    assert [datetime.fromisoformat(one) for one in fix_times(answer)] == [at(0), at(2), at(5), at(60)]
    assert answer.json()["fixes"][0]["device_id"] == house.device.id
    assert (answer.json()["start"], answer.json()["end"]) == tuple(
        instant.isoformat().replace("+00:00", "Z") for instant in (at(0), at(60))
    )


def test_reassignment_changes_the_vehicle_at_its_time(
    client: TestClient, house: House, settings: Settings, session: Session
) -> None:
    other = factories.vehicle(session, house.company)
    unit = factories.device(session, house.company, vehicle_id=other.id)
    for minutes, vehicle in ((10, other), (20, house.vehicle)):
        house.delivery.vehicle_id = vehicle.id
        factories.checkpoint(session, house.delivery, kind=CheckpointKind.ASSIGNMENT, occurred_at=at(minutes))
    session.commit()
    store(session, house, *(fix(minutes) for minutes in (5, 15, 25)))
    store(session, house, *(fix(minutes) for minutes in (6, 16, 26)), device=unit.id)
    answer = client.get(track_path(house), headers=bearer(settings, house.manager)).json()
    seen = [(one["vehicle_id"], datetime.fromisoformat(one["fix_time"])) for one in answer["fixes"]]
    assert seen == [(house.vehicle.id, at(5)), (other.id, at(16)), (house.vehicle.id, at(25))]
    assert [leg["vehicle_id"] for leg in answer["legs"]] == [house.vehicle.id, other.id, house.vehicle.id]


def test_track_before_the_pickup_is_empty(client: TestClient, settings: Settings, session: Session) -> None:
    house = furnish(session)
    answer = client.get(track_path(house), headers=bearer(settings, house.manager))
    assert answer.json() == {
        "delivery_id": house.delivery.id,
        "start": None,
        "end": None,
        "removed_before": None,
        "legs": [],
        "fixes": [],
    }


def test_track_covers_a_year_at_most(
    client: TestClient, house: House, settings: Settings, session: Session
) -> None:
    house.delivery.started_at = datetime.now(UTC) - timedelta(days=400)
    session.commit()
    answer = client.get(track_path(house), headers=bearer(settings, house.manager)).json()
    start, end = (datetime.fromisoformat(answer[name]) for name in ("start", "end"))
    assert end - start == timedelta(days=366)


# --- the track: how ---


def _times(answer: httpx.Response) -> list[str]:
    kind = answer.headers["content-type"]
    if kind == "application/json":
        return fix_times(answer)
    if kind == "application/geo+json":
        features = json.loads(answer.text)["features"]
        return [one for feature in features for one in feature["properties"]["coordTimes"]]
    if kind == "application/gpx+xml":
        root = ElementTree.fromstring(answer.content)
        return [one.text or "" for one in root.iterfind(".//{*}trkpt/{*}time")]
    assert kind == "text/csv; charset=utf-8"
    return [row["fix_time"] for row in csv.DictReader(io.StringIO(answer.text, newline=""))]


def test_every_format_holds_the_same_fixes_by_parameter_or_header(
    client: TestClient, house: House, settings: Settings, session: Session
) -> None:
    store(session, house, *(fix(minutes, speed_kmh=30.0, altitude_m=9.0) for minutes in range(5)))
    house.delivery.ended_at = at(5)
    session.commit()
    headers, path = bearer(settings, house.manager), track_path(house)
    expected = [at(minutes) for minutes in range(5)]
    for name, accept in {
        "json": "application/json",
        "geojson": "application/geo+json",
        "gpx": "application/gpx+xml",
        "csv": "text/csv",
    }.items():
        by_name = client.get(path, params={"format": name}, headers=headers)
        by_header = client.get(path, headers=headers | {"Accept": accept})
        assert by_name.text == by_header.text
        assert by_header.headers["vary"] == "Accept"
        assert f"delivery-{house.delivery.id}-track.{name}" in by_name.headers["content-disposition"]
        assert [datetime.fromisoformat(one) for one in _times(by_name)] == expected
    assert_problem(client.get(path, headers=headers | {"Accept": "image/png"}), 406, "NotAcceptable")


def test_geojson_across_180_degrees_is_read_by_shapely(
    client: TestClient, house: House, settings: Settings, session: Session
) -> None:
    places = [(0, 179.998), (1, 179.999), (2, -179.999), (3, -179.998)]
    fixes = [fix(minutes, -16.8, longitude, altitude_m=9.0) for minutes, longitude in places]
    store(session, house, *fixes, fix(4, -16.8, -179.997))
    answer = client.get(
        track_path(house), params={"format": "geojson"}, headers=bearer(settings, house.manager)
    )
    (feature,) = answer.json()["features"]
    line = shapely.geometry.shape(feature["geometry"])
    assert (line.geom_type, line.has_z) == ("MultiLineString", False)
    assert [len(part.coords) for part in line.geoms] == [3, 4]
    assert line.length < 0.01
    assert [len(times) for times in feature["properties"]["coordTimes"]] == [3, 4]


def test_tolerance_leaves_out_what_lies_on_the_line(
    client: TestClient, house: House, settings: Settings, session: Session
) -> None:
    store(session, house, *(fix(minutes, 52.5 + minutes / 1000) for minutes in range(10)))
    answer = client.get(
        track_path(house), params={"tolerance_m": 10}, headers=bearer(settings, house.manager)
    )
    assert [datetime.fromisoformat(one) for one in fix_times(answer)] == [at(0), at(9)]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"format": "kml"}, "format"),
        ({"tolerance_m": "-1"}, "tolerance_m"),
        ({"tolerance_m": "10001"}, "tolerance_m"),
        ({"tolerance_m": "nan"}, "tolerance_m"),
        ({"tolerance_m": "x"}, "tolerance_m"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_bad_track_query_is_named(
    client: TestClient, house: House, settings: Settings, query: dict[str, str], field: str
) -> None:
    assert_bad_field(
        client.get(track_path(house), params=query, headers=bearer(settings, house.manager)), field
    )


def test_customer_gets_no_track_and_a_stranger_not_even_that_answer(
    client: TestClient, house: House, settings: Settings, session: Session
) -> None:
    stranger = furnish(session)
    assert_problem(client.get(track_path(house), headers=bearer(settings, house.customer)), 403, "Forbidden")
    for user in (stranger.customer, stranger.manager, stranger.driver):
        assert_problem(client.get(track_path(house), headers=bearer(settings, user)), 404, "NotFound")


# --- the track: streamed ---


@pytest.fixture
def server(settings: Settings) -> Iterator[LiveServer]:
    server = LiveServer(settings)
    server.start()
    yield server
    server.stop()


def idle_again(server: LiveServer) -> bool:
    """No connection and no slot is held."""
    state = server._app.state
    return bool(state.sessions.kw["bind"].pool.checkedout() == 0 and state.streams.free == 4)


def held(session: Session) -> int:
    """Transactions of the api that wait for their client."""
    session.rollback()
    query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'milepost-api' AND state = :state"
    return session.scalar(text(query), {"state": "idle in transaction"}) or 0


@pytest.mark.parametrize("name", ["json", "geojson", "gpx", "csv"])
def test_memory_stays_flat_for_200_000_fixes(
    server: LiveServer, house: House, settings: Settings, session: Session, name: str
) -> None:
    """Of the whole process, libpq's memory included: the rows alone would take 50 MiB of it."""
    url, headers = f"http://127.0.0.1:{server.port}{track_path(house)}", bearer(settings, house.manager)
    fill(session, house.vehicle.id, 2_000)
    httpx.get(url, params={"format": name}, headers=headers)  # what is made once is no growth
    fill(session, house.vehicle.id, 200_000, skipped=2_000)
    process, received, most = psutil.Process(), 0, 0
    before = process.memory_info().rss
    with httpx.stream("GET", url, params={"format": name}, headers=headers, timeout=60) as answer:
        for chunk in answer.iter_raw():
            received += len(chunk)
            most = max(most, process.memory_info().rss - before)
    assert received > 6 * MEGABYTE
    assert most < 16 * MEGABYTE, f"{most} bytes for {received}"
    assert wait_until(lambda: idle_again(server), what="the connection to be given back")


def test_simplifying_200_000_fixes_takes_no_memory_either(
    server: LiveServer, house: House, settings: Settings, session: Session
) -> None:
    url, headers = f"http://127.0.0.1:{server.port}{track_path(house)}", bearer(settings, house.manager)
    fill(session, house.vehicle.id, 200_000)
    tracemalloc.start()
    try:
        answer = httpx.get(url, params={"tolerance_m": 20}, headers=headers, timeout=60)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert 100 < len(fix_times(answer)) < 20_000
    assert peak < 8 * MEGABYTE


@pytest.mark.parametrize("name", ["json", "geojson"])
def test_connection_is_given_back_when_the_reader_leaves(
    server: LiveServer, house: House, settings: Settings, session: Session, name: str
) -> None:
    fill(session, house.vehicle.id, 200_000)
    url, headers = f"http://127.0.0.1:{server.port}{track_path(house)}", bearer(settings, house.manager)
    with httpx.stream("GET", url, params={"format": name}, headers=headers, timeout=60) as answer:
        chunks = answer.iter_raw()
        next(chunks)
        assert not idle_again(server)
        assert wait_until(lambda: held(session) == 1, what="the server to wait for its reader")
    assert wait_until(
        lambda: idle_again(server) and not held(session), what="the connection to be given back"
    )


def test_a_reader_too_many_is_refused_for_a_while(
    server: LiveServer, house: House, settings: Settings, session: Session
) -> None:
    fill(session, house.vehicle.id, 100_000)
    url, headers = f"http://127.0.0.1:{server.port}{track_path(house)}", bearer(settings, house.manager)
    with httpx.Client(headers=headers) as client:
        readers = [client.send(client.build_request("GET", url), stream=True) for _ in range(2)]
        refused = client.get(url)
        assert_problem(refused, 503, "Busy")
        assert refused.headers["retry-after"] == "5"
        for reader in readers:
            reader.close()
        assert wait_until(lambda: idle_again(server), what="the connections to be given back")
        assert client.get(url).status_code == 200


def test_an_error_is_an_answer_until_the_first_chunk_is_sent(
    server: LiveServer, house: House, settings: Settings, session: Session
) -> None:
    fill(session, house.vehicle.id, 200_000)
    url, headers = f"http://127.0.0.1:{server.port}{track_path(house)}", bearer(settings, house.manager)
    end_it = text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = :name")
    with httpx.stream("GET", url, headers=headers) as answer:
        chunks = answer.iter_raw()
        next(chunks)
        session.execute(end_it, {"name": "milepost-api"})
        with pytest.raises(httpx.RemoteProtocolError):
            for _ in chunks:
                pass
    assert wait_until(lambda: idle_again(server), what="the connection to be given back")
    missing = httpx.get(f"http://127.0.0.1:{server.port}/deliveries/99/track/", headers=headers)
    assert_problem(missing, 404, "NotFound")
