"""A driver's status report: over REST, or as an MQTT message from the phone. Both return a future.

Its result is the delivery's status now; it raises `RequestRefused` when the API refuses that status, and
`Away` when the outcome is unknown, after which the driver asks again.
"""

import itertools
import json
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Protocol

from broker.connection import BrokerLogin
from local.demo.errands import Errands
from local.demo.rest import Away, RequestRefused, Rest
from local.simulator.device_link import DeviceLink

FORMAT = "status"
RESEND_S = 5.0
GIVE_UP_S = 30.0


class Reporter(Protocol):
    def report(self, delivery_id: int, status: str, reason: str | None) -> Future[str]: ...


class RestReporter:
    """Reports the statuses of a driver without MQTT."""

    def __init__(self, rest: Rest, errands: Errands) -> None:
        self._rest = rest
        self._errands = errands

    def report(self, delivery_id: int, status: str, reason: str | None) -> Future[str]:
        return self._errands.send(lambda: self._post(delivery_id, status, reason))

    def _post(self, delivery_id: int, status: str, reason: str | None) -> str:
        body = {"status": status} | ({"reason": reason} if reason else {})
        self._rest.post(f"/deliveries/{delivery_id}/status/", body)
        return status


@dataclass
class _Request:
    status: str
    payload: bytes
    requested_at: float
    sent_at: float = 0.0
    future: Future[str] = field(default_factory=Future)


class Phone:
    """A driver's phone. Call `send_due` regularly, for replies may be lost."""

    def __init__(self, login: BrokerLogin, clock: Callable[[], float] = time.monotonic) -> None:
        self.link = DeviceLink(login, self._answered)
        self.link.on_ready = self._send_again
        self._clock = clock
        self._numbers = itertools.count(1)
        self._requests: dict[bytes, _Request] = {}

    def report(self, delivery_id: int, status: str, reason: str | None) -> Future[str]:
        body = {"delivery": delivery_id, "status": status} | ({"reason": reason} if reason else {})
        request = _Request(status, json.dumps(body).encode(), self._clock())
        self._requests[b"%d" % next(self._numbers)] = request
        self.send_due()
        return request.future

    def send_due(self) -> None:
        """Send new requests, resend those unanswered in time, and give up after `GIVE_UP_S`."""
        now = self._clock()
        for correlation, request in list(self._requests.items()):
            if now - request.requested_at > GIVE_UP_S:
                del self._requests[correlation]
                request.future.set_exception(Away("no reply to the phone"))
            elif self.link.ready and now - request.sent_at > RESEND_S:
                request.sent_at = now
                self.link.publish(FORMAT, request.payload, correlation)

    def _send_again(self) -> None:
        for request in self._requests.values():
            request.sent_at = 0.0
        self.send_due()

    def _answered(self, correlation: bytes, payload: bytes) -> None:
        request = self._requests.pop(correlation, None)
        if request is None:
            return
        try:
            reply = json.loads(payload)
            accepted = reply["result"] in {"stored", "duplicate"}
        except (ValueError, TypeError, KeyError):
            request.future.set_exception(Away("an unreadable reply to the phone"))
            return
        if accepted:
            request.future.set_result(request.status)
        else:
            problem = {"detail": reply.get("reason"), "missing": reply.get("missing")}
            request.future.set_exception(RequestRefused(409, problem))
