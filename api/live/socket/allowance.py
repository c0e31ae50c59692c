"""Limit the frames and bytes that one WebSocket may send. Pure."""

from core.rules.token_bucket import TokenBucket

UNADMITTED_FRAMES, UNADMITTED_BYTES = 32, 16 * 1024  # in total: a token's message and pings
BURST_FRAMES, BURST_BYTES = 100, 256 * 1024
FRAMES_PER_S, BYTES_PER_S = 10.0, 16.0 * 1024


class Allowance:
    """A small fixed quota until `admit`, then one token bucket for frames and one for bytes.

    ``now`` is a monotonic clock's, in seconds.
    """

    def __init__(self) -> None:
        self.is_admitted = False
        self._frames = TokenBucket(0, UNADMITTED_FRAMES, 0)
        self._bytes = TokenBucket(0, UNADMITTED_BYTES, 0)

    def admit(self, now: float) -> None:
        """Fill both buckets once the client has been authenticated."""
        self.is_admitted = True
        self._frames = TokenBucket(FRAMES_PER_S, BURST_FRAMES, now)
        self._bytes = TokenBucket(BYTES_PER_S, BURST_BYTES, now)

    def takes(self, now: float, *, frames: int = 0, size: int = 0) -> bool:
        """Spend frames and bytes; return False when the client has sent more than it may."""
        return self._frames.take(frames, now) and self._bytes.take(size, now)
