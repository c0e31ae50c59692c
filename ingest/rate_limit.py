"""Token buckets per device: one device must neither block the others nor fill the broker."""

import time

from core.rules.token_bucket import TokenBucket

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
        self._buckets: dict[str, TokenBucket] = {}

    def allows(self, device_id: str, cost: float = 1) -> bool:
        now = time.monotonic()
        bucket = self._buckets.get(device_id)
        if bucket is None:
            if len(self._buckets) >= MAXIMUM_DEVICES:
                self._buckets.clear()
            bucket = self._buckets[device_id] = TokenBucket(self._rate_per_s, self._burst, now)
        return bucket.take(cost, now)
