"""Tell a broker that has lost its users from one that is away."""

import logging

from broker.link import BrokerAway, BrokerRefused

REFUSED_ALERT_S = 60.0

log = logging.getLogger(__name__)


class Refusals:
    """Counts refused logins: a broker that has lost its users answers, but refuses us."""

    def __init__(self) -> None:
        self._first_at: float | None = None
        self._is_said = False

    def count(self, error: BrokerAway, now: float) -> None:
        """Record a failed connection; log an alert once refusals have lasted for a minute."""
        if not isinstance(error, BrokerRefused):
            return
        if self._first_at is None:
            self._first_at = now
        elif not self._is_said and now - self._first_at >= REFUSED_ALERT_S:
            self._is_said = True
            log.error("alert=broker_refuses_us since_s=%.0f reason=%r", now - self._first_at, str(error))

    def end(self) -> None:
        """Record that the broker let us in and carried out our commands."""
        if self._is_said:
            log.warning("broker_lets_us_in_again")
        self._first_at, self._is_said = None, False
