"""Token buckets per device: one device must neither block the others nor fill the broker."""

import time

RATE_PER_S = 5.0
BURST = 20.0
MAXIMUM_DEVICES = 10_000


class RateLimit:
    """A token bucket per device. Too many buckets are all dropped; every device then starts full again.

    The defaults are for status requests: each is a transaction of its own.
    """

    def __init__(self, rate_per_s: float = RATE_PER_S, burst: float = BURST) -> None:
        self._rate_per_s = rate_per_s
        self._burst = burst
        self._buckets: dict[str, tuple[float, float]] = {}

    def allows(self, device_id: str, cost: float = 1) -> bool:
        now = time.monotonic()
        tokens, at = self._buckets.get(device_id, (self._burst, now))
        tokens = min(self._burst, tokens + (now - at) * self._rate_per_s)
        is_allowed = tokens >= cost
        if len(self._buckets) >= MAXIMUM_DEVICES:
            self._buckets.clear()
        self._buckets[device_id] = (tokens - cost if is_allowed else tokens, now)
        return is_allowed
