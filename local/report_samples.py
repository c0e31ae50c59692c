"""Samples of the reports, from a made-up round through Berlin: `python -m local.report_samples docs/reports`.

Needs no database. With Chromium on the PATH it also takes pictures of the pages, with pdftoppm of the PDF.
"""

import argparse
import io
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from math import cos, radians, sin
from pathlib import Path
from random import Random
from typing import Any

from PIL import Image, ImageDraw

from core import delivery_report
from core.delivery_report import DeliveryReport
from core.drive import Meter, Sample
from core.driven import Driven, Source
from core.geo import distance_m
from core.models import CheckpointKind, Delivery, DeliveryCheckpoint, LoadItem, LoadOrder, Status
from core.proof_models import ImageKind
from core.proofs import ImageFact, ProofFact
from core.report_names import Names
from core.report_proofs import ProofShown
from local.report_sample_day import busy_day
from reports import daily_page, delivery_page, pdf

Point = tuple[float, float]
START = datetime(2026, 3, 12, 7, 42, tzinfo=UTC)
STEP_S = 5.0
# Westhafen, Moabit, Mitte, Friedrichshain, Kreuzberg, Neukölln; a pause is minutes at the place before it.
ROUND: tuple[Point | float, ...] = (
    (52.53630, 13.34280), 11.0, (52.53700, 13.34900), (52.53610, 13.35390), (52.53160, 13.34300),
    (52.52760, 13.34160), 5.5, (52.52640, 13.34290), (52.52620, 13.35120), (52.52560, 13.35700),
    (52.52390, 13.36500), (52.52560, 13.36930), (52.52830, 13.37830), (52.53030, 13.38450),
    (52.52960, 13.40140), 4.0, (52.52830, 13.40700), (52.52850, 13.41080), (52.52480, 13.41170),
    (52.52170, 13.41330), (52.52260, 13.41710), (52.51990, 13.42220), (52.51850, 13.42890),
    (52.51720, 13.43520), 8.5, (52.51640, 13.44150), (52.51560, 13.45390), (52.51020, 13.45240),
    (52.50650, 13.45060), (52.50180, 13.44570), (52.50010, 13.44120), (52.49900, 13.43330),
    (52.49910, 13.41830), (52.49500, 13.42050), (52.49170, 13.42320), (52.48720, 13.42490),
    (52.48620, 13.42940),
)  # fmt: skip
PICKUP, DROPOFF = (52.53630, 13.34280), (52.48620, 13.42940)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    for name, page in pages().items():
        html = folder / f"{name}.html"
        html.write_text(page, encoding="utf-8")
        html.with_suffix(".pdf").write_bytes(pdf.make(page))


def pages() -> dict[str, str]:
    """File names without ending, and the pages."""
    return {
        "delivery-late": delivery_page.html(late_delivery()),
        "delivery-for-customer": delivery_page.html(for_customer(late_delivery())),
        "delivery-failed": delivery_page.html(failed_delivery()),
        "day": daily_page.html(busy_day()),
    }


def late_delivery() -> DeliveryReport:
    samples = list(_drive(ROUND, START, _random(7)))
    end = samples[-1].at + timedelta(minutes=4)
    delivery = _delivery(
        Status.DELIVERED, ended_at=end, window_start=_at(18), window_end=end - timedelta(minutes=17)
    )
    record = [
        _checkpoint(
            1, Status.PENDING, START - timedelta(hours=15), by_office=True, driver_id=None, vehicle_id=None
        ),
        _checkpoint(
            2,
            Status.PENDING,
            START - timedelta(hours=14, minutes=40),
            kind=CheckpointKind.ASSIGNMENT,
            by_office=True,
        ),
        _checkpoint(3, Status.PICKUP_IN_PROGRESS, START),
        _checkpoint(4, Status.IN_TRANSIT, _at(11)),
        _checkpoint(999, Status.DELIVERED, end, latitude=DROPOFF[0], longitude=DROPOFF[1]),
    ]
    return _report(delivery, record, samples)


def failed_delivery() -> DeliveryReport:
    samples = list(_drive(ROUND[:19], START, _random(11)))
    end = samples[-1].at + timedelta(minutes=9)
    delivery = _delivery(
        Status.FAILED,
        reference="FB-2026-0313",
        ended_at=end,
        window_start=_at(30),
        window_end=_at(150),
        dropoff_address="Rosenthaler Straße 38, 10178 Berlin",
        dropoff_latitude=52.5285,
        dropoff_longitude=13.4108,
    )
    record = [
        _checkpoint(1, Status.PENDING, START - timedelta(hours=3), by_office=True),
        _checkpoint(2, Status.PICKUP_IN_PROGRESS, START),
        _checkpoint(3, Status.IN_TRANSIT, _at(11)),
        _checkpoint(
            999, Status.FAILED, end, reason="Nobody there, neighbours would not take it (Привет, Ünal!)"
        ),
    ]
    return _report(delivery, record, samples)


def for_customer(report: DeliveryReport) -> DeliveryReport:
    """As `delivery_report.generate` makes it for customers."""
    values = {name: getattr(report, name) for name in report.__struct_fields__}
    hidden: dict[str, Any] = dict.fromkeys(("assignments", "counts", "route", "stops", "speeds"))
    driven = Driven(report.driven.distance_m, report.driven.fixes, True, Source.FIXES)
    return DeliveryReport(**values | hidden | {"names": Names(), "driven": driven})


def _random(seed: int) -> Random:
    return Random(seed)  # noqa: S311  # traffic, no secret


def _at(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


def _report(
    delivery: Delivery, record: list[DeliveryCheckpoint], samples: Sequence[Sample]
) -> DeliveryReport:
    end = delivery.ended_at or START
    meter = Meter(START, end)
    meter.add([*samples, *_standing(samples[-1], end)])
    drive = meter.drive()
    statuses = [one for one in record if one.kind is CheckpointKind.STATUS]
    route = [_location(10 + index, sample) for index, sample in enumerate(samples[::24])]
    return DeliveryReport(
        delivery=delivery,
        company_name="Fahrwerk Berlin GmbH",
        time_zone="Europe/Berlin",
        customer_name="Café Łódź & Söhne",
        generated_at=end + timedelta(minutes=20),
        timeline=statuses,
        phases=delivery_report.phases(statuses, end),
        punctuality=delivery_report.punctuality(delivery, end),
        active_seconds=delivery_report.active_seconds(delivery, end),
        load=delivery_report.load(delivery.load_order.items if delivery.load_order else ()),
        driven=Driven(drive.distance_m, drive.fixes, True, Source.FIXES, drive),
        names=Names(
            users={1: "Mira Sommer"},
            drivers={1: "Jonas Weiß"},
            vehicles={1: "Sprinter 3 (B-FW 3107)"},
            devices={"k3v9x0q2ma": "GPS unit Sprinter 3"},
        ),
        proven=[],
        proofs=_proofs(end) if delivery.status is Status.DELIVERED else [],
        proof_checkpoints=[],
        assignments=[one for one in record if one.kind is CheckpointKind.ASSIGNMENT],
        counts={
            CheckpointKind.STATUS: len(statuses),
            CheckpointKind.ASSIGNMENT: 1,
            CheckpointKind.LOCATION: len(route),
        },
        route=route,
        stops=drive.stops,
        speeds=drive.speeds,
    )


def _proofs(at: datetime) -> list[ProofShown]:
    pictures = [(ImageKind.SIGNATURE, _signature()), (ImageKind.PHOTO, _photo())]
    images = [
        ImageFact(number, number, kind, "image/png", 1, 1, len(content), "")
        for number, (kind, content) in enumerate(pictures, start=1)
    ]
    fact = ProofFact(
        1, "Oleksandra Ünal", "Left at the back door, code 4711.", None, None, at, at, None, 1, images
    )
    return [
        ProofShown(fact, [(image, content) for image, (_, content) in zip(images, pictures, strict=True)], 0)
    ]


def _signature() -> bytes:
    """A scrawl."""
    image = Image.new("L", (600, 200), 255)
    points = [(60 + i * 1.6, 100 + 55 * sin(i / 11) * cos(i / 47) - i / 12) for i in range(300)]
    ImageDraw.Draw(image).line(points, fill=30, width=5, joint="curve")
    return _png(image)


def _photo() -> bytes:
    """Boxes before a door, as nobody ever took it."""
    image = Image.new("RGB", (640, 480), "#cfd6da")
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 380, 640, 480), fill="#8d8478")
    draw.rectangle((360, 60, 560, 380), fill="#5a4632", outline="#3b2d20", width=6)
    draw.ellipse((522, 215, 540, 233), fill="#d8b45a")
    for x, y, width, height in ((70, 290, 150, 120), (200, 320, 120, 95), (95, 200, 110, 90)):
        draw.rectangle((x, y, x + width, y + height), fill="#b98d5b", outline="#8c6840", width=4)
        draw.rectangle((x + width * 0.42, y, x + width * 0.56, y + height), fill="#d9c08f")
    return _png(image.quantize(32))


def _png(image: Image.Image) -> bytes:
    written = io.BytesIO()
    image.save(written, "PNG", optimize=True)
    return written.getvalue()


def _delivery(status: Status, **values: Any) -> Delivery:
    items = [
        LoadItem(id=1, description="Coffee beans, 25 kg sacks", quantity=6, weight_kg=150.0, volume_m3=0.36),
        LoadItem(id=2, description="Espresso machine, on loan", quantity=1, weight_kg=38.5, volume_m3=0.2),
        LoadItem(id=3, description="Oat milk, crates", quantity=12, weight_kg=76.0, volume_m3=None),
    ]
    defaults: dict[str, Any] = {
        "id": 4711,
        "reference": "FB-2026-0312",
        "status": status,
        "driver_id": 1,
        "vehicle_id": 1,
        "pickup_address": "Westhafenstraße 1, 13353 Berlin",
        "pickup_latitude": PICKUP[0],
        "pickup_longitude": PICKUP[1],
        "dropoff_address": "Hermannplatz 8, 10967 Berlin",
        "dropoff_latitude": DROPOFF[0],
        "dropoff_longitude": DROPOFF[1],
        "started_at": START,
        "load_order": LoadOrder(id=1, reference="L-88", items=items),
    }
    return Delivery(**defaults | values)


def _checkpoint(
    number: int, status: Status, at: datetime, *, by_office: bool = False, **values: Any
) -> DeliveryCheckpoint:
    defaults: dict[str, Any] = {
        "id": number,
        "kind": CheckpointKind.STATUS,
        "status": status,
        "vehicle_id": 1,
        "driver_id": 1,
        "occurred_at": at,
        "recorded_at": at + timedelta(seconds=1),
        "actor_user_id": 1 if by_office else 2,
        "actor_driver_id": None if by_office else 1,
    }
    return DeliveryCheckpoint(**defaults | values)


def _location(number: int, sample: Sample) -> DeliveryCheckpoint:
    return DeliveryCheckpoint(
        id=number,
        kind=CheckpointKind.LOCATION,
        status=Status.IN_TRANSIT,
        vehicle_id=1,
        driver_id=1,
        latitude=sample.latitude,
        longitude=sample.longitude,
        speed_kmh=sample.speed_kmh,
        occurred_at=sample.at,
        recorded_at=sample.at,
        actor_device_id="k3v9x0q2ma",
    )


def _drive(route: Sequence[Point | float], start: datetime, rng: Random) -> Iterator[Sample]:
    """A fix every few seconds: town traffic with red lights, a wandering receiver where it stands."""
    at, here = start, PICKUP
    for place in route:
        if isinstance(place, float):
            for sample in _standing(Sample(at, *here, 0.0), at + timedelta(minutes=place), rng):
                yield sample
                at = sample.at
            continue
        for sample in _leg(here, place, at, rng):
            yield sample
            at = sample.at
        here = place
        if rng.random() < 0.5:
            at += timedelta(seconds=STEP_S)
            for sample in _standing(Sample(at, *here, 0.0), at + timedelta(seconds=rng.uniform(15, 70)), rng):
                yield sample
                at = sample.at


def _leg(here: Point, there: Point, at: datetime, rng: Random) -> Iterator[Sample]:
    """Along two bends, as streets are: faster in the middle than at the ends."""
    bends = [here, _beside(here, there, 0.35, rng), _beside(here, there, 0.7, rng), there]
    total = sum(distance_m(*a, *b) for a, b in pairwise(bends))
    done, top = 0.0, rng.uniform(34, 52)
    for a, b in pairwise(bends):
        length, along = distance_m(*a, *b), 0.0
        while along < length:
            edge = min(done + along, total - done - along)
            speed_kmh = min(top, 14 + edge / 4) * rng.uniform(0.9, 1.1)
            at += timedelta(seconds=STEP_S)
            share = along / length
            yield Sample(at, a[0] + share * (b[0] - a[0]), a[1] + share * (b[1] - a[1]), round(speed_kmh, 1))
            along += speed_kmh / 3.6 * STEP_S
        done += length


def _beside(here: Point, there: Point, share: float, rng: Random) -> Point:
    north, east = there[0] - here[0], (there[1] - here[1]) * cos(radians(here[0]))
    off = rng.uniform(-0.05, 0.05)
    latitude = here[0] + share * north + off * east
    return latitude, here[1] + (share * east - off * north) / cos(radians(here[0]))


def _standing(last: Sample, until: datetime, rng: Random | None = None) -> Iterator[Sample]:
    rng, at = rng or _random(1), last.at
    while (at := at + timedelta(seconds=STEP_S * 3)) < until:
        yield Sample(at, last.latitude + rng.gauss(0, 2e-5), last.longitude + rng.gauss(0, 3e-5), 0.0)


if __name__ == "__main__":
    main()
