"""Proofs of delivery over REST: stored, shown to whoever sees the delivery, required where asked for."""

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from core.database import row_security
from core.deliveries.proofs import showing
from core.rules.enums import Role, Status
from core.settings import Settings
from tests.support import factories, pictures
from tests.support.api_client import House, assert_bad_field, assert_problem, bearer, furnish
from tests.support.proof_sender import NAMED, PHOTO, SIGNATURE, ProofSender, ask_for, count, unproven
from tests.support.sessions import another_session


@pytest.fixture
def house(session: Session) -> House:
    return unproven(session, Status.IN_TRANSIT)


@pytest.fixture
def driver(client: TestClient, settings: Settings, house: House) -> ProofSender:
    return ProofSender(client, settings, house, house.driver)


@pytest.fixture
def manager(client: TestClient, settings: Settings, house: House) -> ProofSender:
    return ProofSender(client, settings, house, house.manager)


def test_a_proof_is_stored_shown_and_in_the_record(
    client: TestClient, settings: Settings, house: House, driver: ProofSender, manager: ProofSender
) -> None:
    occurred_at = datetime.now(UTC) - timedelta(hours=3)
    place = {"latitude": 38.7, "longitude": -9.2}
    answer = driver.add(PHOTO, PHOTO, SIGNATURE, occurred_at=occurred_at.isoformat(), **place, **NAMED)
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert answer.headers["location"] == f"{driver.path}proofs/{made['id']}/"
    assert {name: made[name] for name in NAMED | place} == NAMED | place
    assert datetime.fromisoformat(made["occurred_at"]) == occurred_at
    assert [(i["number"], i["kind"], i["media_type"]) for i in made["images"]] == [
        (1, "photo", "image/jpeg"),
        (2, "photo", "image/jpeg"),
        (3, "signature", "image/png"),
    ]
    assert made["status_change"] is None
    del made["status_change"]
    for user in (house.manager, house.operator, house.driver, house.customer):
        who = ProofSender(client, settings, house, user)
        assert who.get("proofs/").json() == {"items": [made], "next": None}
        assert who.get(f"proofs/{made['id']}/").json() == made
        for image in made["images"]:
            shown = client.get(image["url"], headers=who.headers)
            assert (shown.status_code, shown.headers["content-type"]) == (200, image["media_type"])
            assert hashlib.sha256(shown.content).hexdigest() == image["sha256"]
            assert pictures.GPS_MARK not in shown.content
            assert pictures.opened(shown.content).size == (image["width"], image["height"])
        listed = [c for c in who.get("checkpoints/").json()["items"] if c["kind"] == "proof"]
        assert [c["proof"] for c in listed] == [
            {"id": made["id"], "sha256s": [image["sha256"] for image in made["images"]]}
        ]
        assert (listed[0]["status"], listed[0]["latitude"]) == ("in_transit", 38.7)
        assert listed[0]["actor"]["kind"] == "driver"
    entries = client.get("/audit/?subject_kind=delivery_proof", headers=manager.headers).json()["items"]
    assert [(e["action"], e["subject_id"], e["actor_id"]) for e in entries] == [
        ("delivery_proof.added", str(made["id"]), str(house.driver.id))
    ]
    assert "Rita" not in str(entries)


def test_a_picture_s_headers_let_no_browser_run_or_share_it(driver: ProofSender) -> None:
    image = driver.add(PHOTO).json()["images"][0]
    path = image["url"].removeprefix(driver.path)
    shown = driver.get(path)
    assert shown.headers["etag"] == f'"{image["sha256"]}"'
    assert shown.headers["x-content-type-options"] == "nosniff"
    assert shown.headers["cache-control"] == "private, no-cache"
    assert shown.headers["content-disposition"].startswith('inline; filename="delivery-')
    assert "default-src 'none'" in shown.headers["content-security-policy"]
    for tag, status in (
        (f'"{image["sha256"]}"', 304),
        (f'W/"x", W/"{image["sha256"]}"', 304),
        ("*", 304),
        ('"x"', 200),
    ):
        answer = driver.get(path, **{"If-None-Match": tag})
        assert answer.status_code == status, tag
        assert answer.headers["etag"] == shown.headers["etag"]
        assert bool(answer.content) is (status == 200)
    assert driver.get(f"{path.removesuffix('1/')}2/").status_code == 404


def test_who_may_add_and_see(
    client: TestClient, settings: Settings, house: House, session: Session, driver: ProofSender
) -> None:
    made = driver.add(PHOTO).json()
    image = made["images"][0]["url"]
    colleague = factories.user(session, house.company, Role.DRIVER)
    neighbour = factories.user(session, house.company, Role.CUSTOMER)
    session.commit()
    stranger = furnish(session, Status.IN_TRANSIT)
    for user in (house.operator, house.customer):
        assert_problem(ProofSender(client, settings, house, user).add(SIGNATURE), 403, "Forbidden")
    for user in (colleague, neighbour, stranger.manager, stranger.driver):
        who = ProofSender(client, settings, house, user)
        for answer in (
            who.add(SIGNATURE),
            who.add(("photos", ("p", b"no picture", ""))),
            who.get("proofs/"),
            who.get(f"proofs/{made['id']}/"),
            client.get(image, headers=who.headers),
        ):
            assert_problem(answer, 404, "NotFound")
    theirs = f"/deliveries/{stranger.delivery.id}/proofs/{made['id']}/"
    for path in (theirs, f"{theirs}images/1/"):
        assert client.get(path, headers=bearer(settings, stranger.manager)).status_code == 404
    assert count(session, "delivery_proof") == 2  # the driver's, and the one that furnishes the stranger


def test_row_level_security_hides_proofs_and_keeps_them(
    house: House, session: Session, driver: ProofSender
) -> None:
    assert driver.add(PHOTO).status_code == 201
    stranger = furnish(session)
    for company, number in ((house.company.id, 1), (stranger.company.id, 1), (2_000_000_000, 0)):
        with another_session(session) as inside:
            row_security.enter(inside, company)
            for table in ("delivery_proof", "proof_image"):
                assert inside.execute(text(f"SELECT count(*) FROM {table}")).scalar_one() == number, table
    for statement in (
        "UPDATE delivery_proof SET note = 'x'",
        "DELETE FROM delivery_proof",
        "UPDATE proof_image SET content = NULL",
        "DELETE FROM proof_image",
    ):
        with another_session(session) as inside:
            row_security.enter(inside, house.company.id)
            with pytest.raises(ProgrammingError, match="permission denied"):
                inside.execute(text(statement))


def test_pictures_are_stored_beside_the_row_and_not_compressed(session: Session) -> None:
    storage = (
        "SELECT attstorage FROM pg_attribute WHERE attrelid = 'proof_image'::regclass AND attname = 'content'"
    )
    assert session.scalar(text(storage)) == "e"


def test_an_erased_proof_keeps_its_record(driver: ProofSender, session: Session, house: House) -> None:
    made = driver.add(PHOTO, SIGNATURE, **NAMED).json()
    session.execute(text("UPDATE proof_image SET content = NULL WHERE number = 1"))
    session.execute(text("UPDATE delivery_proof SET recipient_name = NULL, note = NULL, fingerprint = NULL"))
    session.commit()
    left = driver.get("proofs/").json()["items"][0]
    assert [image["number"] for image in left["images"]] == [2]
    assert (left["recipient_name"], left["note"]) == (None, None)
    assert_problem(driver.get(f"proofs/{made['id']}/images/1/"), 404, "NotFound")
    shown = [c["proof"] for c in driver.get("checkpoints/").json()["items"] if c["proof"]]
    assert shown[0]["sha256s"] == [image["sha256"] for image in made["images"]]
    facts = showing.of_delivery(session, house.delivery.id)
    assert [image.number for image in facts[0].images] == [2]
    content = showing.image_bytes(session, house.delivery.id, facts[0].images[0].id)
    assert hashlib.sha256(content).hexdigest() == made["images"][1]["sha256"]


def test_a_required_proof_comes_first(
    client: TestClient, settings: Settings, house: House, driver: ProofSender, manager: ProofSender
) -> None:
    set_ = ask_for(client, settings, house, "signature", "recipient_name", "photo")
    assert set_.json()["proof_required"] == ["photo", "signature", "recipient_name"]
    assert client.get("/company/", headers=manager.headers).json() == set_.json()
    when = datetime.now(UTC) - timedelta(minutes=5)
    for who in (driver, manager):
        answer = who.status("delivered", occurred_at=when.isoformat())
        assert_problem(answer, 409, "ProofRequired")
        assert answer.json()["missing"] == ["photo", "signature", "recipient_name"]
        assert answer.json()["current"] == "in_transit"
    assert driver.add(PHOTO).status_code == 201
    assert driver.status("delivered").json()["missing"] == ["signature", "recipient_name"]
    assert driver.add(SIGNATURE, recipient_name="R").status_code == 201
    done = driver.status("delivered", occurred_at=when.isoformat())
    assert (done.status_code, done.json()["result"]) == (200, "changed")
    assert driver.status("delivered").json()["result"] == "unchanged"
    entry = client.get("/audit/?subject_kind=company", headers=manager.headers).json()["items"][0]
    assert entry["changes"]["proof_required"]["after"] == ["photo", "signature", "recipient_name"]


def test_other_ends_need_no_proof_and_may_have_one(
    client: TestClient, settings: Settings, house: House, driver: ProofSender
) -> None:
    ask_for(client, settings, house, "photo")
    answer = driver.add(PHOTO, status="failed", reason="Nobody was at home")
    assert answer.json()["status_change"]["status"] == "failed"
    assert driver.add(note="The door, from the street").status_code == 201


def test_a_bad_requirement_is_named(client: TestClient, settings: Settings, house: House) -> None:
    headers = bearer(settings, house.manager)
    for bad in (["face"], ["photo"] * 4, "photo", None):
        answer = client.patch("/company/", json={"proof_required": bad}, headers=headers)
        assert_bad_field(answer, "proof_required.0" if bad == ["face"] else "proof_required")
    operator = bearer(settings, house.operator)
    assert client.patch("/company/", json={"proof_required": []}, headers=operator).status_code == 403


def test_proof_and_status_are_one_step(
    client: TestClient, settings: Settings, house: House, driver: ProofSender, session: Session
) -> None:
    ask_for(client, settings, house, "signature")
    answer = driver.add(PHOTO, status="delivered", **NAMED)
    assert_problem(answer, 409, "ProofRequired")
    assert count(session, "delivery_proof") == 0
    when = datetime.now(UTC) - timedelta(minutes=5)
    fields = {"status": "delivered", "occurred_at": when.isoformat(), "latitude": 38.7, "longitude": -9.2}
    answers = [driver.add(PHOTO, SIGNATURE, **fields, **NAMED) for _ in range(2)]
    assert [a.status_code for a in answers] == [201, 201]
    assert [a.json()["status_change"]["result"] for a in answers] == ["changed", "unchanged"]
    assert answers[0].json()["id"] == answers[1].json()["id"]
    record = driver.get("checkpoints/").json()["items"]
    assert [(c["kind"], c["status"]) for c in record[1:]] == [
        ("proof", "in_transit"),
        ("status", "delivered"),
    ]
    assert {c["occurred_at"] for c in record[1:]} <= {c["occurred_at"] for c in record}
    assert record[2]["latitude"] == 38.7
    assert_problem(driver.add(PHOTO, status="in_transit"), 409, "InvalidTransition")


@pytest.mark.parametrize("skew", [timedelta(minutes=4), timedelta(days=-1)])
def test_proof_with_status_sent_again_after_a_later_status_is_the_same(
    driver: ProofSender, session: Session, house: House, skew: timedelta
) -> None:
    house.delivery.status = Status.PICKUP_IN_PROGRESS
    session.commit()
    at = datetime.now(UTC) + skew
    fields = {"status": "in_transit", "occurred_at": at.isoformat(), "recipient_name": "Rene\u0301"}
    first = driver.add(PHOTO, **fields)
    assert (first.status_code, first.json()["status_change"]["result"]) == (201, "changed")
    assert driver.status("delivered").status_code == 200
    for again in (fields, fields | {"occurred_at": f"{at:%Y-%m-%dT%H:%M:%S.%f}9+00"}):
        answer = driver.add(PHOTO, **again)
        assert (answer.status_code, answer.json()["status_change"]["result"]) == (201, "unchanged")
        assert answer.json()["id"] == first.json()["id"]
    assert count(session, "delivery_proof") == 1


@pytest.mark.parametrize("proof_first", [True, False])
def test_a_phone_that_was_offline_ends_right_in_either_order(
    client: TestClient, settings: Settings, session: Session, proof_first: bool
) -> None:
    """It sends what it queued, each again until it is taken: the photo, and every status since the pickup."""
    house = unproven(session, Status.PENDING)
    ask_for(client, settings, house, "photo")
    driver = ProofSender(client, settings, house, house.driver)
    start = datetime.now(UTC) - timedelta(hours=2)

    def report(minutes: int, status: str) -> Callable[[], httpx.Response]:
        at = start + timedelta(minutes=minutes)
        return lambda: driver.status(status, occurred_at=at.isoformat())

    def photo() -> httpx.Response:
        return driver.add(PHOTO, occurred_at=(start + timedelta(minutes=2)).isoformat())

    names = ("pickup_in_progress", "in_transit", "delivered")
    queue = [report(minutes, name) for minutes, name in enumerate(names)]
    queue.insert(0 if proof_first else len(queue), photo)
    while queue:
        waiting = [send for send in queue if not send().is_success]
        assert len(waiting) < len(queue), "the phone would never be done"
        queue = waiting
    for again in (photo, report(2, "delivered")):
        assert again().is_success
    record = driver.get("checkpoints/").json()["items"]
    assert [c["status"] for c in record if c["kind"] == "status"] == [
        "pending",
        "pickup_in_progress",
        "in_transit",
        "delivered",
    ]
    assert [c["kind"] for c in record].count("proof") == 1


def test_an_integration_adds_with_its_scope(client: TestClient, house: House, session: Session) -> None:
    _, token = factories.api_token(session, house.company, "deliveries:write")
    session.commit()
    headers = {"Authorization": f"Bearer {token}"}
    path = f"/deliveries/{house.delivery.id}/proofs/"
    made = client.post(path, files=[PHOTO], headers=headers)
    assert made.status_code == 201
    assert_problem(client.get(path, headers=headers), 403, "Forbidden")


def test_watchers_get_statuses_and_no_proofs(client: TestClient, driver: ProofSender, house: House) -> None:
    """A proof is in the record; the newest announcement stays the status that it was."""
    assert driver.add(PHOTO).status_code == 201
    with client.websocket_connect(f"/ws/delivery/{house.delivery.id}/", headers=driver.headers) as socket:
        first = socket.receive_json()
    assert (first["type"], first["status"]) == ("status_update", "in_transit")
    assert first["checkpoint_id"] == driver.get("checkpoints/").json()["items"][0]["id"]
