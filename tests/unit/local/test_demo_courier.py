"""What a demo driver does next, from the delivery's status and where the van stands."""

from collections.abc import Collection
from concurrent.futures import Future
from random import Random

import pytest

from broker.connection import BrokerLogin
from core.rules.enums import Status
from local.demo.courier import Courier
from local.demo.jobs import CourierJob, job
from local.demo.rest import Away, RequestRefused
from local.simulator import city, driving
from local.simulator.tally import SimulationTally
from local.simulator.units import Unit

PICKUP, DROPOFF = city.JUNCTIONS["Rato"], city.JUNCTIONS["Saldanha"]


class Desk:
    """Takes reports; a test answers them."""

    def __init__(self) -> None:
        self.reports: list[tuple[int, str, str | None]] = []
        self.answers: list[Future[str]] = []
        self.proofs: list[tuple[int, list[str]]] = []

    def report(self, delivery_id: int, status: str, reason: str | None) -> Future[str]:
        self.reports.append((delivery_id, status, reason))
        self.answers.append(Future())
        return self.answers[-1]

    def prove(self, delivery_id: int, missing: Collection[str]) -> Future[str]:
        self.proofs.append((delivery_id, list(missing)))
        return self.report(delivery_id, "delivered", None)

    def accept(self) -> None:
        self.answers[-1].set_result(self.reports[-1][1])


class Day:
    """A courier who stands at ``place``, with a clock that only the test moves."""

    def __init__(self, place: tuple[float, float] = PICKUP, seed: int = 1) -> None:
        self.desk = Desk()
        self.now = 1.0
        rng = Random(seed)
        login = BrokerLogin("127.0.0.1", 1, "k3v9x0q2ma", "")
        unit = Unit(login, driving.parked_at(*place, rng), SimulationTally(), rng)
        self.courier = Courier("Duarte", unit, self.desk, self.desk, rng)

    def step(self) -> None:
        self.now += 1.0
        self.courier.step(self.now)

    def arrive(self) -> None:
        van = self.courier.unit.van
        self.courier.unit.tick(van.trip.duration_s)


def delivery(number: int = 1, status: Status = Status.PENDING) -> CourierJob:
    return CourierJob(number, f"LX-{number}", status, 1, 1, 1, PICKUP, DROPOFF)


def test_a_whole_delivery_is_reported_step_by_step() -> None:
    day = Day(place=city.JUNCTIONS["Marquês de Pombal"], seed=2)
    day.courier.take([delivery()], listed_at=1.0)
    for _ in range(3):
        day.step()
        if not day.desk.answers or day.desk.answers[-1].done():
            day.arrive()
            day.step()
        day.desk.accept()
        day.step()
    assert [status for _, status, _ in day.desk.reports] == ["pickup_in_progress", "in_transit", "delivered"]


def test_what_is_under_way_comes_before_what_waits() -> None:
    day = Day(place=DROPOFF)
    day.courier.take([delivery(1), delivery(2, Status.IN_TRANSIT)], listed_at=1.0)
    day.step()
    assert day.desk.reports[0][0] == 2


def test_nothing_is_reported_before_the_van_has_arrived() -> None:
    day = Day(place=PICKUP)
    day.courier.take([delivery(1, Status.IN_TRANSIT)], listed_at=1.0)
    day.step()
    trip = day.courier.unit.van.trip
    day.courier.unit.tick(5.0)
    day.step()
    assert day.courier.unit.van.trip is trip
    assert day.desk.reports == []


def test_a_refusal_moves_on_to_the_next_delivery() -> None:
    day = Day()
    day.courier.take([delivery(1), delivery(2)], listed_at=1.0)
    day.step()
    day.desk.answers[-1].set_exception(RequestRefused(409, {}))
    day.step()
    day.step()
    assert [number for number, _, _ in day.desk.reports] == [1, 2]


def test_a_delivery_whose_proof_is_missing_is_proven() -> None:
    day = Day(place=DROPOFF, seed=2)
    day.courier.take([delivery(1, Status.IN_TRANSIT), delivery(2)], listed_at=1.0)
    day.step()
    day.desk.answers[-1].set_exception(RequestRefused(409, {"missing": ["photo", "signature"]}))
    day.step()
    assert day.desk.proofs == [(1, ["photo", "signature"])]
    day.desk.accept()
    day.step()
    day.step()
    assert [(number, status) for number, status, _ in day.desk.reports] == [
        (1, "delivered"),
        (1, "delivered"),
        (2, "pickup_in_progress"),
    ]


def test_a_proof_that_is_refused_moves_on_to_the_next_delivery() -> None:
    day = Day(place=DROPOFF)
    day.courier.take([delivery(1, Status.IN_TRANSIT), delivery(2)], listed_at=1.0)
    day.step()
    for problem in ({"missing": ["photo"]}, {}):
        day.desk.answers[-1].set_exception(RequestRefused(409, problem))
        day.step()
    day.step()
    assert [number for number, _, _ in day.desk.reports] == [1, 1, 2]


def test_an_api_that_is_away_is_asked_again_after_a_back_off() -> None:
    day = Day()
    day.courier.take([delivery(1)], listed_at=1.0)
    day.step()
    day.desk.answers[-1].set_exception(Away("gone"))
    day.step()
    day.now += 10.0
    day.step()
    assert [number for number, _, _ in day.desk.reports] == [1, 1]


def test_a_list_from_before_the_last_answer_is_ignored() -> None:
    day = Day()
    day.courier.take([delivery(1)], listed_at=1.0)
    day.step()
    day.desk.accept()
    day.step()
    day.courier.take([delivery(1)], listed_at=day.now - 0.5)
    day.step()
    assert day.desk.reports[-1][1] == "in_transit"


def test_trouble_comes_with_a_reason() -> None:
    endings = set()
    for seed in range(60):
        day = Day(place=DROPOFF, seed=seed)
        day.courier.take([delivery(1, Status.IN_TRANSIT)], listed_at=1.0)
        day.step()
        (_, status, reason) = day.desk.reports[0]
        assert (reason is None) is (status == "delivered")
        endings.add(status)
    assert endings == {"delivered", "returned", "failed"}


@pytest.mark.parametrize("place", [(None, None), (52.52, 13.405)])
def test_a_delivery_where_our_streets_do_not_reach_is_left_alone(
    place: tuple[float | None, float | None],
) -> None:
    there = {"latitude": place[0], "longitude": place[1]}
    here = {"latitude": PICKUP[0], "longitude": PICKUP[1]}
    ids = {"id": 1, "customer_id": 1, "driver_id": 1, "vehicle_id": 1}
    other = job(ids | {"reference": "R", "status": "pending", "pickup": here, "dropoff": there})
    day = Day()
    day.courier.take([other], listed_at=1.0)
    day.step()
    assert not other.can_be_driven
    assert day.desk.reports == []
