"""Proofs of delivery over REST: stored, shown to whoever sees the delivery, required where asked for."""

import hashlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from api.uploads import MAXIMUM_PROOF_BYTES
from core import isolation, proofs
from core.models import AppUser, Role, Status
from core.settings import Settings
from tests import factories, pictures
from tests.integration.api_client import House, assert_bad_field, assert_problem, bearer, furnish

KEY = {"Idempotency-Key": "k-1"}
PHOTO = ("photos", ("IMG_0001.HEIC", pictures.located_jpeg(), "text/html"))
SIGNATURE = ("signature", ("s.png", pictures.signature(), "image/png"))
NAMED = {"recipient_name": "Rita Recipient", "note": "Left with the neighbour"}


@pytest.fixture
def house(session: Session) -> House:
    """Under way, and without any proof."""
    house = furnish(session, Status.IN_TRANSIT)
    session.execute(text("DELETE FROM delivery_proof"))
    session.commit()
    return house


class Sender:
    """Somebody of the house, adding proofs to its delivery."""

    def __init__(self, client: TestClient, settings: Settings, house: House, user: AppUser) -> None:
        self.client, self.path = client, f"/deliveries/{house.delivery.id}/"
        self.headers = bearer(settings, user)

    def add(self, *files: Any, headers: Any = None, **fields: Any) -> httpx.Response:
        answer: httpx.Response = self.client.post(
            f"{self.path}proofs/",
            files=[*files],
            data={name: str(value) for name, value in fields.items()},
            headers=self.headers | (headers or {}),
        )
        return answer

    def get(self, path: str, **headers: str) -> httpx.Response:
        answer: httpx.Response = self.client.get(f"{self.path}{path}", headers=self.headers | headers)
        return answer

    def status(self, status: str, **fields: Any) -> httpx.Response:
        answer: httpx.Response = self.client.post(
            f"{self.path}status/", json={"status": status} | fields, headers=self.headers
        )
        return answer


@pytest.fixture
def driver(client: TestClient, settings: Settings, house: House) -> Sender:
    return Sender(client, settings, house, house.driver)


@pytest.fixture
def manager(client: TestClient, settings: Settings, house: House) -> Sender:
    return Sender(client, settings, house, house.manager)


def ask_for(client: TestClient, settings: Settings, house: House, *parts: str) -> httpx.Response:
    answer: httpx.Response = client.patch(
        "/company/", json={"proof_required": parts}, headers=bearer(settings, house.manager)
    )
    assert answer.status_code == 200, answer.text
    return answer


def count(session: Session, table: str) -> int:
    session.rollback()
    return int(session.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())


def test_a_proof_is_stored_shown_and_in_the_record(
    client: TestClient, settings: Settings, house: House, driver: Sender, manager: Sender
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
        who = Sender(client, settings, house, user)
        assert who.get("proofs/").json() == {"items": [made], "next": None}
        assert who.get(f"proofs/{made['id']}/").json() == made
        for image in made["images"]:
            shown = client.get(image["url"], headers=who.headers)
            assert (shown.status_code, shown.headers["content-type"]) == (200, image["media_type"])
            assert hashlib.sha256(shown.content).hexdigest() == image["sha256"]
            assert pictures.GPS_MARK not in shown.content
            assert pictures.opened(shown.content).size == (image["width"], image["height"])
        told = [c for c in who.get("checkpoints/").json()["items"] if c["kind"] == "proof"]
        assert [c["proof"] for c in told] == [
            {"id": made["id"], "sha256s": [image["sha256"] for image in made["images"]]}
        ]
        assert (told[0]["status"], told[0]["latitude"]) == ("in_transit", 38.7)
        assert told[0]["actor"]["kind"] == "driver"
    entries = client.get("/audit/?subject_kind=delivery_proof", headers=manager.headers).json()["items"]
    assert [(e["action"], e["subject_id"], e["actor_id"]) for e in entries] == [
        ("delivery_proof.added", str(made["id"]), str(house.driver.id))
    ]
    assert "Rita" not in str(entries)


def test_a_picture_s_headers_let_no_browser_run_or_share_it(driver: Sender) -> None:
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


BAD_PICTURES: list[tuple[str, Any]] = [
    ("photos", ("photo.jpg", pictures.HTML, "image/jpeg")),
    ("photos", ("photo.jpg", pictures.SVG, "image/jpeg")),
    ("signature", ("s.svg", pictures.SVG, "image/svg+xml")),
    ("photos", ("bomb.png", pictures.bomb_png(), "image/png")),
    ("signature", ("s.webp", pictures.animated("WEBP"), "image/webp")),
    ("photos", ("empty.jpg", b"", "image/jpeg")),
]


def test_what_is_no_picture_is_refused_and_nothing_stored(driver: Sender, session: Session) -> None:
    for field, file in BAD_PICTURES:
        answer = driver.add(PHOTO, (field, file), **NAMED)
        assert_problem(answer, 422, "InvalidValue")
        named = "photos.1" if field == "photos" else "signature"
        assert [error["field"] for error in answer.json()["errors"]] == [named], file[0]
    assert count(session, "delivery_proof") == 0


def test_two_mebibytes_a_picture(driver: Sender, session: Session) -> None:
    source = pictures.jpeg()
    largest = source + bytes(2 * 1024 * 1024 - len(source))
    assert driver.add(*[("photos", ("p", largest, ""))] * 5).status_code == 201
    answer = driver.add(PHOTO, ("photos", ("p", largest + b"x", "")))
    assert_problem(answer, 413, "ImageTooLarge")
    assert answer.json()["errors"][0]["field"] == "photos.1"
    assert count(session, "delivery_proof") == 1


def test_an_endless_body_is_cut_off_while_it_streams(driver: Sender) -> None:
    """Spoken to as a server speaks to it, for a test client would make up its body first."""
    sent, statuses = 0, []
    head = b'--b\r\nContent-Disposition: form-data; name="photos"; filename="p"\r\n\r\n'

    async def receive() -> dict[str, Any]:
        nonlocal sent
        body = bytes(256 * 1024) if sent else head
        sent += len(body)
        assert sent < 2 * MAXIMUM_PROOF_BYTES, "it would be read for ever"
        return {"type": "http.request", "body": body, "more_body": True}

    async def send(message: Any) -> None:
        statuses.append(message.get("status"))

    headers = driver.headers | {"Content-Type": "multipart/form-data; boundary=b"}
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": f"{driver.path}proofs/",
        "raw_path": f"{driver.path}proofs/".encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        "state": {},
    }
    assert driver.client.portal is not None
    driver.client.portal.call(driver.client.app, scope, receive, send)
    assert statuses[0] == 413
    assert MAXIMUM_PROOF_BYTES < sent < MAXIMUM_PROOF_BYTES + 1024 * 1024
    headers["Content-Length"] = str(MAXIMUM_PROOF_BYTES + 1)
    answer = driver.client.post(f"{driver.path}proofs/", content=b"", headers=headers)
    assert_problem(answer, 413, "BodyTooLarge")


def test_other_paths_take_no_larger_bodies(driver: Sender) -> None:
    for path in ("status/", "location/"):
        answer = driver.client.post(f"{driver.path}{path}", content=bytes(2**20 + 1), headers=driver.headers)
        assert_problem(answer, 413, "BodyTooLarge")


def test_nobody_s_body_is_not_read(client: TestClient, house: House, driver: Sender) -> None:
    """Answered before the form is looked at: what is no form at all is somebody's 400."""
    form = {"Content-Type": "multipart/form-data; boundary=b"}
    path = f"{driver.path}proofs/"
    for token in ("", "Bearer", "Bearer nonsense", "Bearer mp_unknown", "Basic eDp5"):
        answer = client.post(path, content=b"junk", headers=form | {"Authorization": token})
        assert_problem(answer, 401, "NotAuthenticated")
    answer = client.post(path, content=b"junk", headers=form | driver.headers)
    assert_problem(answer, 400, "BadRequest")


def test_too_many_uploads_at_once_are_told_to_wait(driver: Sender) -> None:
    uploads = driver.client.app.state.uploads  # type: ignore[attr-defined]
    free, uploads.free = uploads.free, 0
    answer = driver.add(PHOTO)
    assert_problem(answer, 503, "UploadsBusy")
    assert answer.headers["retry-after"] == "5"
    uploads.free = free
    assert driver.add(PHOTO).status_code == 201
    assert uploads.free == free


BAD_FIELDS: list[tuple[str, dict[str, Any]]] = [
    ("latitude", {"latitude": 91, "longitude": 0}),
    ("body", {"latitude": 38.7}),
    ("latitude", {"latitude": "nan", "longitude": 0}),
    ("occurred_at", {"occurred_at": "2020-01-01T00:00:00Z"}),
    ("occurred_at", {"occurred_at": "2099-01-01T00:00:00Z"}),
    ("occurred_at", {"occurred_at": "yesterday"}),
    ("recipient_name", {"recipient_name": "x" * 201}),
    ("recipient_name", {"recipient_name": "a\nb"}),
    ("note", {"note": "x" * 1001}),
    ("status", {"status": "lost"}),
    ("body", {"reason": "why"}),
    ("reason", {"status": "failed"}),
    ("company_id", {"company_id": "1"}),
    ("photos", {}),
]


def test_a_bad_field_is_named(driver: Sender, session: Session) -> None:
    for field, fields in BAD_FIELDS:
        name = {} if field == "photos" else {"note": "n"}
        assert_bad_field(driver.add(**name | fields), field)
    assert count(session, "delivery_proof") == 0


def test_numbers_are_bounded(house: House, driver: Sender, manager: Sender, session: Session) -> None:
    assert_bad_field_without_body(driver.add(*[PHOTO] * 6), "photos")
    for _ in range(proofs.MAXIMUM_PROOFS):
        factories.proof(session, house.delivery)
    session.commit()
    answer = manager.add(note="one more")
    assert_problem(answer, 409, "Conflict")
    assert answer.json()["maximum"] == proofs.MAXIMUM_PROOFS


def assert_bad_field_without_body(answer: httpx.Response, field: str) -> None:
    assert_problem(answer, 422, "InvalidValue")
    assert [error["field"] for error in answer.json()["errors"]] == [field]


def test_who_may_add_and_see(
    client: TestClient, settings: Settings, house: House, session: Session, driver: Sender
) -> None:
    made = driver.add(PHOTO).json()
    image = made["images"][0]["url"]
    colleague = factories.user(session, house.company, Role.DRIVER)
    neighbour = factories.user(session, house.company, Role.CUSTOMER)
    session.commit()
    stranger = furnish(session, Status.IN_TRANSIT)
    for user in (house.operator, house.customer):
        assert_problem(Sender(client, settings, house, user).add(SIGNATURE), 403, "Forbidden")
    for user in (colleague, neighbour, stranger.manager, stranger.driver):
        who = Sender(client, settings, house, user)
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
    house: House, session: Session, driver: Sender
) -> None:
    assert driver.add(PHOTO).status_code == 201
    stranger = furnish(session)
    for company, number in ((house.company.id, 1), (stranger.company.id, 1), (2_000_000_000, 0)):
        with Session(session.get_bind()) as inside:
            isolation.enter(inside, company)
            for table in ("delivery_proof", "proof_image"):
                assert inside.execute(text(f"SELECT count(*) FROM {table}")).scalar_one() == number, table
    for statement in (
        "UPDATE delivery_proof SET note = 'x'",
        "DELETE FROM delivery_proof",
        "UPDATE proof_image SET content = NULL",
        "DELETE FROM proof_image",
    ):
        with Session(session.get_bind()) as inside:
            isolation.enter(inside, house.company.id)
            with pytest.raises(ProgrammingError, match="permission denied"):
                inside.execute(text(statement))


def test_pictures_are_stored_beside_the_row_and_not_compressed(session: Session) -> None:
    storage = (
        "SELECT attstorage FROM pg_attribute WHERE attrelid = 'proof_image'::regclass AND attname = 'content'"
    )
    assert session.scalar(text(storage)) == "e"


def test_an_erased_proof_keeps_its_record(driver: Sender, session: Session, house: House) -> None:
    made = driver.add(PHOTO, SIGNATURE, **NAMED).json()
    session.execute(text("UPDATE proof_image SET content = NULL WHERE number = 1"))
    session.execute(text("UPDATE delivery_proof SET recipient_name = NULL, note = NULL, fingerprint = NULL"))
    session.commit()
    left = driver.get("proofs/").json()["items"][0]
    assert [image["number"] for image in left["images"]] == [2]
    assert (left["recipient_name"], left["note"]) == (None, None)
    assert_problem(driver.get(f"proofs/{made['id']}/images/1/"), 404, "NotFound")
    told = [c["proof"] for c in driver.get("checkpoints/").json()["items"] if c["proof"]]
    assert told[0]["sha256s"] == [image["sha256"] for image in made["images"]]
    facts = proofs.of_delivery(session, house.delivery.id)
    assert [image.number for image in facts[0].images] == [2]
    content = proofs.image_bytes(session, house.delivery.id, facts[0].images[0].id)
    assert hashlib.sha256(content).hexdigest() == made["images"][1]["sha256"]


def test_the_same_again_is_the_first_one(driver: Sender, manager: Sender, session: Session) -> None:
    first = driver.add(PHOTO, **NAMED).json()
    renamed = ("photos", ("other-name.jpg", PHOTO[1][1], "image/jpeg"))
    for again in (driver.add(PHOTO, **NAMED), driver.add(renamed, **NAMED), manager.add(PHOTO, **NAMED)):
        assert (again.status_code, again.json()) == (201, first)
    assert driver.add(PHOTO, recipient_name="Somebody else").json()["id"] != first["id"]
    assert driver.add(SIGNATURE, **NAMED).json()["id"] != first["id"]
    assert count(session, "delivery_proof") == 3
    kinds = [c["kind"] for c in driver.get("checkpoints/").json()["items"]]
    assert kinds.count("proof") == 3


def test_a_key_tells_forms_by_their_fields_and_the_files_bytes(driver: Sender, session: Session) -> None:
    first = driver.add(PHOTO, headers=KEY, **NAMED)
    renamed = ("photos", ("other-name.jpg", PHOTO[1][1], "image/jpeg"))
    again = driver.add(renamed, headers=KEY, **NAMED)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert (again.status_code, again.content) == (201, first.content)
    assert_problem(driver.add(SIGNATURE, headers=KEY, **NAMED), 422, "KeyReused")
    assert_problem(driver.add(PHOTO, headers=KEY), 422, "KeyReused")
    answer = driver.add(PHOTO, headers=KEY, status="delivered", **NAMED)
    assert_problem(answer, 422, "KeyReused")
    assert count(session, "delivery_proof") == 1


@pytest.mark.parametrize("keys", [({}, {}), (KEY, KEY)])
def test_a_double_click_is_one_proof(driver: Sender, session: Session, keys: Any) -> None:
    both = threading.Barrier(2)

    def click(key: dict[str, str]) -> httpx.Response:
        both.wait()
        return driver.add(PHOTO, headers=key, status="delivered", **NAMED)

    with ThreadPoolExecutor(2) as threads:
        answers = list(threads.map(click, keys))
    assert [answer.status_code for answer in answers] == [201, 201]
    assert len({answer.json()["id"] for answer in answers}) == 1
    kinds = [(c["kind"], c["status"]) for c in driver.get("checkpoints/").json()["items"]]
    assert kinds == [("status", "in_transit"), ("proof", "in_transit"), ("status", "delivered")]
    assert count(session, "outbox") == 1


def test_a_required_proof_comes_first(
    client: TestClient, settings: Settings, house: House, driver: Sender, manager: Sender
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
    client: TestClient, settings: Settings, house: House, driver: Sender
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
    client: TestClient, settings: Settings, house: House, driver: Sender, session: Session
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


@pytest.mark.parametrize("proof_first", [True, False])
def test_a_phone_that_was_offline_ends_right_in_either_order(
    client: TestClient, settings: Settings, session: Session, proof_first: bool
) -> None:
    """It sends what it queued, each again until it is taken: the photo, and every status since the pickup."""
    house = furnish(session, Status.PENDING)
    session.execute(text("DELETE FROM delivery_proof"))
    session.commit()
    ask_for(client, settings, house, "photo")
    driver = Sender(client, settings, house, house.driver)
    start = datetime.now(UTC) - timedelta(hours=2)

    def tell(minutes: int, status: str) -> Callable[[], httpx.Response]:
        at = start + timedelta(minutes=minutes)
        return lambda: driver.status(status, occurred_at=at.isoformat())

    def photo() -> httpx.Response:
        return driver.add(PHOTO, occurred_at=(start + timedelta(minutes=2)).isoformat())

    names = ("pickup_in_progress", "in_transit", "delivered")
    queue = [tell(minutes, name) for minutes, name in enumerate(names)]
    queue.insert(0 if proof_first else len(queue), photo)
    while queue:
        waiting = [send for send in queue if not send().is_success]
        assert len(waiting) < len(queue), "the phone would never be done"
        queue = waiting
    for again in (photo, tell(2, "delivered")):
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


def test_watchers_are_told_of_statuses_and_not_of_proofs(
    client: TestClient, driver: Sender, house: House
) -> None:
    """A proof is in the record; the newest announcement stays the status that it was."""
    assert driver.add(PHOTO).status_code == 201
    with client.websocket_connect(f"/ws/delivery/{house.delivery.id}/", headers=driver.headers) as socket:
        first = socket.receive_json()
    assert (first["type"], first["status"]) == ("status_update", "in_transit")
    assert first["checkpoint_id"] == driver.get("checkpoints/").json()["items"][0]["id"]
