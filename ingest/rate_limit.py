"""A rate limit on status requests: each is a transaction, and one device must not block the others."""

import time

RATE_PER_S = 5.0
BURST = 20.0
MAXIMUM_DEVICES = 10_000


class RateLimit:
    """A token bucket per device. Too many buckets are all dropped; every device then starts full again."""

    def __init__(self) -> None:
        self._buckets: dict[str, tuple[float, float]] = {}

    def allows(self, device_id: str) -> bool:
        now = time.monotonic()
        tokens, at = self._buckets.get(device_id, (BURST, now))
        tokens = min(BURST, tokens + (now - at) * RATE_PER_S)
        if len(self._buckets) >= MAXIMUM_DEVICES:
            self._buckets.clear()
        self._buckets[device_id] = (max(tokens - 1, 0.0), now)
        return tokens >= 1
