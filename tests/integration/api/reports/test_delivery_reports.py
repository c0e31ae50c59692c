"""A delivery's report as JSON, page and PDF: what each role gets, what is drawn, what stays out."""

import base64
import hashlib
import io
import re
import tracemalloc
from datetime import UTC, datetime, timedelta
from typing import Any
from xml.etree import ElementTree

import httpx
import pytest
from PIL import Image
from pypdf import PdfReader
from sqlalchemy import text
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from core.models.people import AppUser
from core.models.proof import ProofImage
from core.reporting import delivery_report, shown_proofs
from core.rules.enums import CheckpointKind, ImageKind, Status
from core.settings import Settings
from core.trips import reading
from tests.support import factories
from tests.support.api_client import House, assert_bad_field, assert_problem, bearer, furnish

START = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=6)
SECRET_STOP = (52.612345, 13.123456)
NASTY = "<script>alert(\"x\")</script> & 'Ünal' Привет"
SVG = re.compile(r"<svg.*?</svg>", re.DOTALL)


def at(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


@pytest.fixture
def house(session: Session) -> House:
    """Delivered, 10 minutes late, after a stop at a place that no customer may learn of."""
    house = furnish(session, Status.DELIVERED)
    delivery = house.delivery
    delivery.started_at, delivery.ended_at = START, at(100)
    delivery.window_start, delivery.window_end = at(30), at(90)
    session.execute(
        text("UPDATE delivery_checkpoint SET status = 'pending', occurred_at = :at"), {"at": at(-30)}
    )
    for status, minutes in ((Status.PICKUP_IN_PROGRESS, 0), (Status.IN_TRANSIT, 20), (Status.DELIVERED, 100)):
        factories.checkpoint(
            session, delivery, status=status, occurred_at=at(minutes), actor_driver_id=house.driver.driver_id
        )
    factories.checkpoint(
        session,
        delivery,
        kind=CheckpointKind.LOCATION,
        status=Status.IN_TRANSIT,
        occurred_at=at(40),
        latitude=SECRET_STOP[0],
        longitude=SECRET_STOP[1],
        actor_device_id=house.device.id,
    )
    drive(session, house)
    session.commit()
    return house


def drive(session: Session, house: House) -> None:
    """A fix every 30 s: to the secret stop, ten minutes there, and on."""
    for minute in range(0, 200):
        there = 80 <= minute < 100
        session.execute(
            text(
                "INSERT INTO position (vehicle_id, fix_time, latitude, longitude, received_at, suspect,"
                " speed_kmh) VALUES (:vehicle, :at, :latitude, :longitude, :at, false, :speed)"
            ),
            {
                "vehicle": house.vehicle.id,
                "at": at(minute / 2),
                "latitude": SECRET_STOP[0] + (0 if there else (minute - 90) * 0.002),
                "longitude": SECRET_STOP[1],
                "speed": 0.0 if there else 27.0,
            },
        )


def ask(
    client: TestClient,
    settings: Settings,
    house: House,
    user: AppUser,
    accept: str | None = None,
    **query: str,
) -> httpx.Response:
    headers = bearer(settings, user) | ({"Accept": accept} if accept else {})
    answer: httpx.Response = client.get(
        f"/deliveries/{house.delivery.id}/report/", params=query, headers=headers
    )
    return answer


def pdf_text(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/pdf"
    return "\n".join(page.extract_text() for page in PdfReader(io.BytesIO(answer.content)).pages)


def test_json_has_the_trip_its_stops_and_speeds(client: TestClient, house: House, settings: Settings) -> None:
    report = ask(client, settings, house, house.manager).json()
    assert report["time_zone"] == "UTC"
    assert report["punctuality"]["late_seconds"] == 600
    assert report["driven"] == {
        "distance_m": pytest.approx(44_256, rel=0.01),
        "fixes": 200,
        "is_complete": True,
        "measured_by": "fixes",
        "removed_before": None,
    }
    (stop,) = report["stops"]
    assert stop["seconds"] == pytest.approx(600, abs=60)
    assert (stop["latitude"], stop["longitude"]) == pytest.approx(SECRET_STOP, abs=1e-4)
    assert {round(step["maximum_kmh"]) for step in report["speeds"]} == {0, 27}
    assert report["assignments"] == []


@pytest.mark.parametrize("role", ["manager", "operator", "driver"])
def test_page_shows_staff_everything(client: TestClient, house: House, settings: Settings, role: str) -> None:
    answer = ask(client, settings, house, getattr(house, role), "text/html")
    page = answer.text
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    for words in ("The route driven", "Speed over time", "10 min late", "Dora Driver (driver)", "Stops"):
        assert words in page, words
    assert f"{SECRET_STOP[0]:.5f}, {SECRET_STOP[1]:.5f}" in page
    for drawing in SVG.findall(page):
        ElementTree.fromstring(drawing)


@pytest.mark.parametrize("format_", ["json", "html", "pdf"])
def test_customers_version_holds_no_place_of_the_route(
    client: TestClient, house: House, settings: Settings, format_: str
) -> None:
    staffs = ask(client, settings, house, house.manager, format=format_)
    own = ask(client, settings, house, house.customer, format=format_)
    handed_on = ask(client, settings, house, house.manager, format=format_, audience="customer")
    texts = [pdf_text(one) if format_ == "pdf" else one.text for one in (staffs, own, handed_on)]
    place = re.compile(r"52\.6\d|13\.12|Dora|The route driven")
    assert place.search(texts[0])
    for customers in texts[1:]:
        assert not place.search(customers)
        assert house.delivery.reference in customers
    if format_ == "html":
        # Neither as words nor as a drawing: the times are all that is drawn.
        assert [re.findall("<title>(.*?)</title>", one)[0] for one in SVG.findall(own.text)] == [
            "Times of the delivery"
        ]


def test_pdf_has_pages_and_letters_of_other_alphabets(
    client: TestClient, house: House, settings: Settings, session: Session
) -> None:
    house.company.name = "Größe Привет Łódź"
    session.merge(house.company)
    session.commit()
    answer = ask(client, settings, house, house.manager, "application/pdf")
    assert answer.headers["content-disposition"] == (
        f'inline; filename="delivery-{house.delivery.id}-report.pdf"'
    )
    words = pdf_text(answer)
    assert "Größe Привет Łódź" in words
    assert "10 min late" in words
    reader = PdfReader(io.BytesIO(answer.content))
    assert 2 <= len(reader.pages) <= 4
    fonts = {
        str(font.get_object()["/BaseFont"]).partition("+")[2]
        for page in reader.pages
        for font in page["/Resources"]["/Font"].values()  # type: ignore[index]
    }
    assert fonts, "no font is embedded"


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        (None, "application/json"),
        ("*/*", "application/json"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "text/html; charset=utf-8"),
        ("application/pdf", "application/pdf"),
    ],
)
def test_format_follows_accept(
    client: TestClient, house: House, settings: Settings, accept: str | None, content_type: str
) -> None:
    answer = ask(client, settings, house, house.customer, accept)
    assert answer.headers["content-type"] == content_type
    assert answer.headers["vary"] == "Accept, Authorization"
    assert answer.headers["cache-control"] == "private, no-store"


def test_query_wins_over_accept_and_what_we_have_not_is_406(
    client: TestClient, house: House, settings: Settings
) -> None:
    answer = ask(client, settings, house, house.manager, "text/csv", format="html")
    assert answer.headers["content-type"].startswith("text/html")
    assert_problem(ask(client, settings, house, house.manager, "text/csv"), 406, "NotAcceptable")
    assert_bad_field(ask(client, settings, house, house.manager, format="docx"), "format")
    assert_bad_field(ask(client, settings, house, house.manager, audience="driver"), "audience")


def test_page_loads_and_runs_nothing_whatever_people_are_called(
    client: TestClient, house: House, settings: Settings, session: Session
) -> None:
    for table, column in (("company", "name"), ("customer", "name"), ("driver", "name"), ("vehicle", "name")):
        session.execute(text(f"UPDATE {table} SET {column} = :nasty"), {"nasty": NASTY})
    session.execute(
        text("UPDATE delivery SET reference = :nasty, pickup_address = :nasty, dropoff_address = :nasty"),
        {"nasty": NASTY},
    )
    session.execute(text("UPDATE delivery_checkpoint SET reason = :nasty"), {"nasty": NASTY})
    session.commit()
    answer = ask(client, settings, house, house.manager, format="html")
    assert "<script" not in answer.text
    assert answer.text.count("&lt;script&gt;") > 5
    assert not re.search(r"""(?:src|href|url)\s*[=(]\s*["']?(?!data:)""", answer.text)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_style_is_the_one_that_the_policy_lets_through(
    client: TestClient, house: House, settings: Settings
) -> None:

    answer = ask(client, settings, house, house.manager, format="html")
    (style,) = re.findall("<style>(.*?)</style>", answer.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in answer.headers["content-security-policy"]
    assert "style=" not in answer.text


def test_another_companys_report_is_missing_in_every_format(
    client: TestClient, house: House, settings: Settings, session: Session
) -> None:
    stranger = furnish(session)
    for format_ in ("json", "html", "pdf"):
        assert_problem(ask(client, settings, house, stranger.manager, format=format_), 404, "NotFound")


def filled(colour: str, format_: str) -> bytes:
    written = io.BytesIO()
    Image.new("RGB", (2000, 1000), colour).save(written, format_)
    return written.getvalue()


@pytest.fixture
def proven(house: House, session: Session) -> House:
    """With a photo and a signature; the house's own proof has a picture that is none."""
    proof = factories.proof(session, house.delivery, recipient_name=NASTY, note="By the <b>back door</b>")
    pictures = ((2, ImageKind.PHOTO, "JPEG"), (3, ImageKind.SIGNATURE, "PNG"))
    for number, kind, format_ in pictures:
        content = filled("green", format_)
        session.add(
            ProofImage(
                company_id=house.company.id,
                proof_id=proof.id,
                number=number,
                kind=kind,
                media_type=f"image/{format_.lower()}",
                width=2000,
                height=1000,
                size_bytes=len(content),
                sha256=b"",
                content=content,
            )
        )
    factories.checkpoint(session, house.delivery, kind=CheckpointKind.PROOF, occurred_at=at(99))
    session.commit()
    return house


def test_proof_is_shown_with_its_pictures_to_whoever_sees_the_delivery(
    client: TestClient, proven: House, settings: Settings
) -> None:
    for user in (proven.manager, proven.customer):
        page = ask(client, settings, proven, user, "text/html").text
        assert "Received by <b><bdi>&lt;script&gt;" in page
        assert "By the &lt;b&gt;back door" in page
        assert "Proof of delivery added" in page
        kinds = re.findall('<img src="data:image/(png|jpeg);base64,([^"]+)" alt="(Photo|Signature)', page)
        assert [(media, kind) for media, _, kind in kinds] == [("png", "Signature"), ("jpeg", "Photo")]
        for _, content, _ in kinds:
            with Image.open(io.BytesIO(base64.b64decode(content))) as picture:
                assert picture.size == (900, 450)
    paper = PdfReader(io.BytesIO(ask(client, settings, proven, proven.customer, format="pdf").content))
    assert len({image.name for page in paper.pages for image in page.images}) == 2
    data = ask(client, settings, proven, proven.customer).json()
    assert [proof["recipient_name"] for proof in data["proofs"]] == ["Rita Recipient", NASTY]
    assert "data:" not in ask(client, settings, proven, proven.customer).text


def test_of_many_pictures_a_paper_shows_the_signatures_and_some_photos(
    session: Session, proven: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shown_proofs, "MAXIMUM_PICTURES", 2)
    actor = factories.actor(proven.company, proven.manager)
    report = delivery_report.generate(
        session, actor, proven.delivery.id, datetime.now(UTC), with_pictures=True
    )
    shown = [(image.kind, proof.left_out) for proof in report.proofs or [] for image, _ in proof.pictures]
    assert shown == [(ImageKind.SIGNATURE, 1), (ImageKind.PHOTO, 1)]


def test_trip_is_drawn_by_checkpoints_after_the_fixes_are_purged(
    client: TestClient, house: House, settings: Settings, session: Session
) -> None:
    session.execute(text("DELETE FROM position"))
    factories.checkpoint(
        session,
        house.delivery,
        kind=CheckpointKind.LOCATION,
        occurred_at=at(50),
        latitude=SECRET_STOP[0] + 0.1,
        longitude=SECRET_STOP[1],
    )
    session.commit()
    found = ask(client, settings, house, house.manager).json()["driven"]
    assert found == {
        "distance_m": pytest.approx(11_119.5, rel=1e-3),
        "fixes": 0,
        "is_complete": False,
        "measured_by": "checkpoints",
        "removed_before": None,
    }
    page = ask(client, settings, house, house.manager, format="html").text
    assert "The route driven" in page
    assert "no longer kept" in page


def test_deliveries_without_a_start_or_a_fix_have_reports(
    client: TestClient, settings: Settings, session: Session
) -> None:
    for status in (Status.PENDING, Status.IN_TRANSIT):
        house = furnish(session, status)
        for format_ in ("json", "html", "pdf"):
            answer = ask(client, settings, house, house.manager, format=format_)
            assert answer.status_code == 200, answer.text


def test_long_words_leave_space_for_the_others(
    client: TestClient, house: House, settings: Settings, session: Session
) -> None:
    """A column of few words beside a long reason, and the page's number beside a long title."""
    house.delivery.reference = "WIDE-" * 40
    factories.checkpoint(
        session,
        house.delivery,
        status=Status.DELIVERED,
        occurred_at=at(100),
        actor_user_id=house.manager.id,
        reason="Nobody was at home, and the neighbour would not take it. " * 15,
    )
    session.commit()
    words = pdf_text(ask(client, settings, house, house.manager, format="pdf"))
    assert "(office)" in words
    assert re.search(r"Page 1 of \d", words)


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "America/New_York"])
def test_window_at_the_calendars_ends_is_reported(
    client: TestClient, house: House, settings: Settings, session: Session, zone: str
) -> None:
    first, last = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    for window_start in (first, last - timedelta(days=1)):
        house.delivery.window_start = window_start
        house.delivery.window_end = house.delivery.window_start + timedelta(days=1)
        session.execute(text("UPDATE company SET time_zone = :zone"), {"zone": zone})
        session.commit()
        assert ask(client, settings, house, house.manager, format="html").status_code == 200


def test_unknown_zone_of_a_tenant_stops_no_report(
    client: TestClient, house: House, settings: Settings, session: Session
) -> None:
    house.delivery.window_start = None
    session.execute(text("UPDATE company SET time_zone = 'Mars/Olympus'"))
    session.commit()
    page = ask(client, settings, house, house.manager, format="html")
    assert page.status_code == 200
    assert "all times: UTC (this server does not know the time zone Mars/Olympus)" in page.text
    assert f"agreed: by {at(90).day} {at(90):%b %Y, %H:%M}" in page.text
    paper = pdf_text(ask(client, settings, house, house.manager, format="pdf"))
    assert "Mars/Olympus" in paper
    assert "agreed: by" in " ".join(paper.split())
    assert ask(client, settings, house, house.manager).json()["time_zone"] == "Mars/Olympus"


def test_many_fixes_are_looked_at_in_bounded_memory(
    session: Session, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "MAXIMUM_FIXES", 10_000)
    session.execute(
        text(
            "INSERT INTO position (vehicle_id, fix_time, latitude, longitude, received_at, suspect)"
            " SELECT :vehicle, CAST(:start AS timestamptz) + i * interval '100 milliseconds',"
            " 52 + i / 1e6, 13 + sin(i / 50.0) / 1e3, :start, false FROM generate_series(1, 40000) i"
        ),
        {"vehicle": house.vehicle.id, "start": START},
    )
    session.commit()
    actor = factories.actor(house.company, house.manager)
    tracemalloc.start()
    try:
        report = delivery_report.generate(session, actor, house.delivery.id, datetime.now(UTC))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert report.driven.fixes == 40_200
    assert not report.driven.is_complete, "beyond the most that are looked at, every n-th is"
    assert report.driven.distance_m > 10_000
    assert peak < 5 * 1024 * 1024


def test_more_fixes_than_are_looked_at_leave_the_checkpoints(
    session: Session, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "MAXIMUM_SCANNED", 150)
    actor = factories.actor(house.company, house.manager)
    report = delivery_report.generate(session, actor, house.delivery.id, datetime.now(UTC))
    assert (report.driven.fixes, report.driven.measured_by) == (151, reading.Source.CHECKPOINTS)


def test_too_many_renderings_are_refused_before_anything_is_read(
    client: TestClient, house: House, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    renderings: Any = client.app.state.renderings  # type: ignore[attr-defined]
    renderings.pdfs.free = 0
    monkeypatch.delattr(delivery_report, "generate")
    refused = ask(client, settings, house, house.manager, format="pdf")
    assert_problem(refused, 503, "RenderingsBusy")
    assert refused.headers["retry-after"] == "10"
