"""What a proof's form may hold, how much of it is read and for whom, and the same form sent again."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import httpx
import pytest
from PIL import Image
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from api.content.uploads import MAXIMUM_PROOF_BYTES
from api.gate import Holder
from core.deliveries.proofs import adding
from core.rules.enums import Status
from core.settings import Settings
from tests.support import factories, pictures
from tests.support.api_client import House, assert_bad_field, assert_problem
from tests.support.proof_sender import KEY, NAMED, PHOTO, SIGNATURE, ProofSender, count, unproven


@pytest.fixture
def house(session: Session) -> House:
    return unproven(session, Status.IN_TRANSIT)


@pytest.fixture
def driver(client: TestClient, settings: Settings, house: House) -> ProofSender:
    return ProofSender(client, settings, house, house.driver)


@pytest.fixture
def manager(client: TestClient, settings: Settings, house: House) -> ProofSender:
    return ProofSender(client, settings, house, house.manager)


BAD_PICTURES: list[tuple[str, Any]] = [
    ("photos", ("photo.jpg", pictures.HTML, "image/jpeg")),
    ("photos", ("photo.jpg", pictures.SVG, "image/jpeg")),
    ("signature", ("s.svg", pictures.SVG, "image/svg+xml")),
    ("photos", ("bomb.png", pictures.bomb_png(), "image/png")),
    ("signature", ("s.webp", pictures.animated("WEBP"), "image/webp")),
    ("photos", ("empty.jpg", b"", "image/jpeg")),
]


def test_what_is_no_picture_is_refused_and_nothing_stored(driver: ProofSender, session: Session) -> None:
    for field, file in BAD_PICTURES:
        answer = driver.add(PHOTO, (field, file), **NAMED)
        assert_problem(answer, 422, "InvalidValue")
        named = "photos.1" if field == "photos" else "signature"
        assert [error["field"] for error in answer.json()["errors"]] == [named], file[0]
    assert count(session, "delivery_proof") == 0


BLANK_PICTURES: list[tuple[str, Any]] = [
    ("photos", ("p.jpg", pictures.saved(Image.new("RGB", (40, 30)), "JPEG"), "image/jpeg")),
    ("signature", ("s.png", pictures.saved(Image.new("RGBA", (300, 100)), "PNG"), "image/png")),
    ("signature", ("s.png", pictures.saved(Image.new("L", (300, 100), 255), "PNG"), "image/png")),
]


def test_blank_picture_is_refused_each_time_it_is_sent(driver: ProofSender, session: Session) -> None:
    for field, file in BLANK_PICTURES:
        answers = [driver.add(PHOTO, (field, file), headers=KEY, **NAMED) for _ in range(2)]
        for answer in answers:
            assert_problem(answer, 422, "InvalidValue")
            (error,) = answer.json()["errors"]
            assert error["field"] == ("photos.1" if field == "photos" else field)
            assert error["message"].startswith("is blank")
        assert answers[0].json() == answers[1].json()
    assert count(session, "delivery_proof") == 0
    assert driver.add(PHOTO, SIGNATURE, headers=KEY, **NAMED).status_code == 201


def test_blank_signature_changes_no_status(driver: ProofSender, session: Session) -> None:
    assert_problem(driver.add(BLANK_PICTURES[1], status="delivered", **NAMED), 422, "InvalidValue")
    assert driver.get("").json()["status"] == "in_transit"


def test_signature_in_white_ink_is_shown_in_black(driver: ProofSender) -> None:
    white = pictures.saved(pictures.inked((255, 255, 255, 255)), "PNG")
    added = driver.add(("signature", ("s.png", white, "image/png")), **NAMED)
    assert added.status_code == 201
    shown = driver.client.get(added.json()["images"][0]["url"], headers=driver.headers)
    assert pictures.opened(shown.content).getextrema() == (0, 255)


def test_two_mebibytes_a_picture(driver: ProofSender, session: Session) -> None:
    source = pictures.jpeg()
    largest = source + bytes(2 * 1024 * 1024 - len(source))
    assert driver.add(*[("photos", ("p", largest, ""))] * 5).status_code == 201
    answer = driver.add(PHOTO, ("photos", ("p", largest + b"x", "")))
    assert_problem(answer, 413, "ImageTooLarge")
    assert answer.json()["errors"][0]["field"] == "photos.1"
    assert count(session, "delivery_proof") == 1


def test_an_endless_body_is_cut_off_while_it_streams(driver: ProofSender) -> None:
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


def test_other_paths_take_no_larger_bodies(driver: ProofSender) -> None:
    for path in ("status/", "location/"):
        answer = driver.client.post(f"{driver.path}{path}", content=bytes(2**20 + 1), headers=driver.headers)
        assert_problem(answer, 413, "BodyTooLarge")


def test_unauthenticated_uploads_are_not_read(client: TestClient, house: House, driver: ProofSender) -> None:
    """The token is checked before the form: a body that is no form is a 400 for known clients only."""
    form = {"Content-Type": "multipart/form-data; boundary=b"}
    path = f"{driver.path}proofs/"
    for token in ("", "Bearer", "Bearer nonsense", "Bearer mp_unknown", "Basic eDp5"):
        answer = client.post(path, content=b"junk", headers=form | {"Authorization": token})
        assert_problem(answer, 401, "NotAuthenticated")
    answer = client.post(path, content=b"junk", headers=form | driver.headers)
    assert_problem(answer, 400, "BadRequest")


def test_too_many_uploads_at_once_are_refused_for_a_while(
    house: House, driver: ProofSender, manager: ProofSender
) -> None:
    gate = driver.client.app.state.uploads.gate  # type: ignore[attr-defined]
    free, gate.free = gate.free, 0
    answer = driver.add(PHOTO)
    assert_problem(answer, 503, "UploadsBusy")
    assert answer.headers["retry-after"] == "5"
    gate.free = free
    sender = Holder(house.company.id, f"user:{house.driver.id}")
    with gate.slot(sender), gate.slot(sender):
        assert_problem(driver.add(PHOTO), 503, "UploadsBusy")
        assert manager.add(SIGNATURE).status_code == 201
    assert driver.add(PHOTO).status_code == 201
    assert gate.free == free


def test_a_company_that_sends_slowly_is_in_its_own_way_only(
    house: House, driver: ProofSender, manager: ProofSender, settings: Settings, session: Session
) -> None:
    gate = driver.client.app.state.uploads.gate  # type: ignore[attr-defined]
    other = unproven(session, Status.IN_TRANSIT)
    with ExitStack() as slow:
        for number in range(8):
            slow.enter_context(gate.slot(Holder(house.company.id, f"api_token:{number}")))
        assert_problem(manager.add(SIGNATURE), 503, "UploadsBusy")
        assert ProofSender(driver.client, settings, other, other.driver).add(PHOTO).status_code == 201
    assert manager.add(SIGNATURE).status_code == 201


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


def test_a_bad_field_is_named(driver: ProofSender, session: Session) -> None:
    for field, fields in BAD_FIELDS:
        name = {} if field == "photos" else {"note": "n"}
        assert_bad_field(driver.add(**name | fields), field)
    assert count(session, "delivery_proof") == 0


def test_numbers_are_bounded(
    house: House, driver: ProofSender, manager: ProofSender, session: Session
) -> None:
    assert_bad_field_without_body(driver.add(*[PHOTO] * 6), "photos")
    for _ in range(adding.MAXIMUM_PROOFS):
        factories.proof(session, house.delivery)
    session.commit()
    answer = manager.add(note="one more")
    assert_problem(answer, 409, "Conflict")
    assert answer.json()["maximum"] == adding.MAXIMUM_PROOFS


def assert_bad_field_without_body(answer: httpx.Response, field: str) -> None:
    assert_problem(answer, 422, "InvalidValue")
    assert [error["field"] for error in answer.json()["errors"]] == [field]


@pytest.mark.parametrize(
    ("field", "parts"),
    [
        ("signature", [SIGNATURE, ("signature", ("t.png", pictures.jpeg(), "image/png"))]),
        ("recipient_name", [("recipient_name", (None, "Rita")), ("recipient_name", (None, "Carla"))]),
        ("status", [PHOTO, ("status", (None, "failed")), ("status", (None, "delivered"))]),
    ],
)
def test_what_is_there_once_is_not_taken_twice(
    driver: ProofSender, session: Session, field: str, parts: list[Any]
) -> None:
    """Which of two signatures is the recipient's is not ours to guess."""
    assert_bad_field_without_body(driver.add(*parts), field)
    assert count(session, "delivery_proof") == 0


def test_the_same_again_is_the_first_one(driver: ProofSender, manager: ProofSender, session: Session) -> None:
    first = driver.add(PHOTO, **NAMED).json()
    renamed = ("photos", ("other-name.jpg", PHOTO[1][1], "image/jpeg"))
    for again in (driver.add(PHOTO, **NAMED), driver.add(renamed, **NAMED), manager.add(PHOTO, **NAMED)):
        assert (again.status_code, again.json()) == (201, first)
    assert driver.add(PHOTO, recipient_name="Somebody else").json()["id"] != first["id"]
    assert driver.add(SIGNATURE, **NAMED).json()["id"] != first["id"]
    assert count(session, "delivery_proof") == 3
    kinds = [c["kind"] for c in driver.get("checkpoints/").json()["items"]]
    assert kinds.count("proof") == 3


def test_a_key_compares_forms_by_fields_and_bytes_of_files(driver: ProofSender, session: Session) -> None:
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
def test_a_double_click_is_one_proof(driver: ProofSender, session: Session, keys: Any) -> None:
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
