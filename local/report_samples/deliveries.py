"""Made-up deliveries: one late, one failed, and a customer's view of them."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from core.deliveries.proofs.showing import ImageFact, ProofFact
from core.models.delivery import Delivery, DeliveryCheckpoint
from core.models.load_order import LoadItem, LoadOrder
from core.reporting import delivery_figures
from core.reporting.delivery_report import DeliveryReport
from core.reporting.record_names import Names
from core.reporting.shown_proofs import ProofShown
from core.rules.enums import CheckpointKind, ImageKind, Status
from core.trips.measure import Meter, Sample
from core.trips.reading import Driven, Source
from local.report_samples.drawings import photo, signature
from local.report_samples.driving import DROPOFF, PICKUP, ROUND, drive, seeded, standing

START = datetime(2026, 3, 12, 7, 42, tzinfo=UTC)


def late_delivery() -> DeliveryReport:
    samples = list(drive(ROUND, START, seeded(7)))
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
    samples = list(drive(ROUND[:19], START, seeded(11)))
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
    """Return the report as `delivery_report.generate` makes it for customers."""
    values = {name: getattr(report, name) for name in report.__struct_fields__}
    hidden: dict[str, Any] = dict.fromkeys(("assignments", "counts", "route", "stops", "speeds"))
    driven = Driven(report.driven.distance_m, report.driven.fixes, True, Source.FIXES)
    return DeliveryReport(**values | hidden | {"names": Names(), "driven": driven})


def _at(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


def _report(
    delivery: Delivery, record: list[DeliveryCheckpoint], samples: Sequence[Sample]
) -> DeliveryReport:
    end = delivery.ended_at or START
    meter = Meter(START, end)
    meter.add([*samples, *standing(samples[-1], end)])
    found = meter.drive()
    statuses = [one for one in record if one.kind is CheckpointKind.STATUS]
    route = [_location(10 + index, sample) for index, sample in enumerate(samples[::24])]
    return DeliveryReport(
        delivery=delivery,
        company_name="Fahrwerk Berlin GmbH",
        time_zone="Europe/Berlin",
        customer_name="Café Łódź & Söhne",
        generated_at=end + timedelta(minutes=20),
        timeline=statuses,
        phases=delivery_figures.phases(statuses, end),
        punctuality=delivery_figures.punctuality(delivery, end),
        active_seconds=delivery_figures.active_seconds(delivery, end),
        load=delivery_figures.load(delivery.load_order.items if delivery.load_order else ()),
        driven=Driven(found.distance_m, found.fixes, True, Source.FIXES, found),
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
        stops=found.stops,
        speeds=found.speeds,
    )


def _proofs(at: datetime) -> list[ProofShown]:
    pictures = [(ImageKind.SIGNATURE, signature()), (ImageKind.PHOTO, photo())]
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
