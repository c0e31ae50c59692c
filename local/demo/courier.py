"""A driver and a van at work: the next action follows from the delivery's status and the van's place.

There is no other state, so a demo that was stopped in the middle of a delivery continues it.
"""

import logging
from collections.abc import Sequence
from concurrent.futures import Future
from math import dist
from random import Random

from core.backoff import Backoff
from core.rules.enums import Status
from core.rules.lifecycle import FINAL
from local.demo import cast
from local.demo.jobs import CourierJob, Place
from local.demo.proving import Prover
from local.demo.reporting import Reporter
from local.demo.rest import Away, RequestRefused
from local.simulator import driving, routes
from local.simulator.units import Unit

NEAR_M = 40.0
LOADING_S = (10.0, 25.0)
TROUBLE_SHARE = 0.12

log = logging.getLogger(__name__)


class Courier:
    """`take` the deliveries of this driver, `tick` the van, `step` the work."""

    def __init__(self, name: str, unit: Unit, reporter: Reporter, prover: Prover, rng: Random) -> None:
        self.name = name
        self.unit = unit
        self._reporter = reporter
        self._prover = prover
        self._rng = rng
        self._jobs: list[CourierJob] = []
        self._job: CourierJob | None = None
        self._request: tuple[CourierJob, Future[str]] | None = None
        self._answered_at = 0.0
        self._retry_at = 0.0
        self._backoff = Backoff(base_s=0.5, limit_s=10.0)

    def take(self, jobs: Sequence[CourierJob], listed_at: float) -> None:
        """Take over the driver's open deliveries, oldest first, as listed at a monotonic instant.

        A list from before our own last change would revert it, and is ignored.
        """
        if self._request is None and listed_at > self._answered_at:
            self._jobs = [job for job in jobs if job.can_be_driven]
            self._choose()

    def step(self, now: float) -> None:
        """Make one decision, unless an answer is pending or the van is on its way."""
        if self._request is not None:
            self._handle_answer(*self._request, now)
        elif self.unit.van.is_done and self._job is not None and now >= self._retry_at:
            self._work_on(self._job)

    def _choose(self) -> None:
        """Choose a delivery under way first, then the one that has waited longest."""
        under_way = [job for job in self._jobs if job.is_under_way]
        known = [job for job in under_way if self._job is not None and job.id == self._job.id]
        self._job = next(iter(known or under_way or self._jobs), None)

    def _work_on(self, job: CourierJob) -> None:
        if job.status is Status.PENDING:
            self._report(job, Status.PICKUP_IN_PROGRESS)
        elif job.status is Status.PICKUP_IN_PROGRESS and job.pickup is not None:
            if not self._drive_to(job.pickup):
                self._report(job, Status.IN_TRANSIT)
        elif job.status is Status.IN_TRANSIT and job.dropoff is not None and not self._drive_to(job.dropoff):
            self._report(job, *self._ending())

    def _drive_to(self, place: Place) -> bool:
        """Depart for ``place``, loading time included; return False if the van is already there."""
        if dist(self.unit.van.place, routes.to_plane(*place)) <= NEAR_M:
            return False
        trip = driving.trip_to(self.unit.van, *place, self._rng, parked_s=self._rng.uniform(*LOADING_S))
        self.unit.van = driving.depart(self.unit.van, trip)
        return True

    def _ending(self) -> tuple[Status, str | None]:
        if self._rng.random() >= TROUBLE_SHARE:
            return Status.DELIVERED, None
        if self._rng.random() < 0.5:
            return Status.RETURNED, self._rng.choice(cast.RETURNS)
        return Status.FAILED, self._rng.choice(cast.FAILURES)

    def _report(self, job: CourierJob, status: Status, reason: str | None = None) -> None:
        self._request = job, self._reporter.report(job.id, status.value, reason)

    def _handle_answer(self, job: CourierJob, answer: Future[str], now: float) -> None:
        if not answer.done():
            return
        self._request, self._answered_at = None, now
        try:
            job.status = Status(answer.result())
        except Away as away:
            self._retry_at = now + self._backoff.next()
            log.debug("%s: delivery %d: %s", self.name, job.id, away)
            return
        except RequestRefused as refused:
            if refused.missing:
                self._request = job, self._prover.prove(job.id, refused.missing)
                return
            # Another user changed the delivery: the next list brings its present state.
            log.info("%s: delivery %d: %s", self.name, job.id, refused)
            self._jobs.remove(job)
        else:
            log.info("%s: delivery %d (%s) is %s", self.name, job.id, job.reference, job.status)
        self._backoff.reset()
        self._jobs = [other for other in self._jobs if other.status not in FINAL]
        self._choose()
