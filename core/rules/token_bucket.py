"""A token bucket: a rate with bursts."""


class TokenBucket:
    """``burst`` tokens at first and at most; ``rate_per_s`` tokens are added per second.

    ``now`` is a monotonic clock's, in seconds.
    """

    __slots__ = ("_at", "_burst", "_rate_per_s", "_tokens")

    def __init__(self, rate_per_s: float, burst: float, now: float) -> None:
        self._rate_per_s = rate_per_s
        self._burst = self._tokens = burst
        self._at = now

    def take(self, cost: float, now: float) -> bool:
        """Take ``cost`` tokens if there are as many; otherwise take none and return False."""
        tokens = self._tokens + (now - self._at) * self._rate_per_s
        if tokens > self._burst:
            tokens = self._burst
        self._at = now
        is_allowed = tokens >= cost
        self._tokens = tokens - cost if is_allowed else tokens
        return is_allowed
