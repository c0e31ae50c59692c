"""Limit the frames and bytes that one WebSocket may send. Pure."""

UNADMITTED_FRAMES, UNADMITTED_BYTES = 32, 16 * 1024  # in total: a token's message and pings
BURST_FRAMES, BURST_BYTES = 100, 256 * 1024
FRAMES_PER_S, BYTES_PER_S = 10.0, 16.0 * 1024


class Allowance:
    """A small fixed quota until `admit`, then one token bucket for frames and one for bytes.

    ``now`` is a monotonic clock's, in seconds.
    """

    def __init__(self) -> None:
        self.is_admitted = False
        self._frames, self._bytes = float(UNADMITTED_FRAMES), float(UNADMITTED_BYTES)
        self._at = 0.0

    def admit(self, now: float) -> None:
        """Fill both buckets once the client has been authenticated."""
        self.is_admitted = True
        self._frames, self._bytes = float(BURST_FRAMES), float(BURST_BYTES)
        self._at = now

    def takes(self, now: float, *, frames: int = 0, size: int = 0) -> bool:
        """Spend frames and bytes; return False once the allowance is overdrawn."""
        if self.is_admitted:
            passed, self._at = now - self._at, now
            self._frames = min(BURST_FRAMES, self._frames + passed * FRAMES_PER_S)
            self._bytes = min(BURST_BYTES, self._bytes + passed * BYTES_PER_S)
        self._frames -= frames
        self._bytes -= size
        return self._frames >= 0 and self._bytes >= 0
