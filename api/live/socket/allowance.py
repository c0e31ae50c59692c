"""How many frames and bytes one WebSocket may send: pure."""

UNADMITTED_FRAMES, UNADMITTED_BYTES = 32, 16 * 1024  # in all: a token's message and some pings
BURST_FRAMES, BURST_BYTES = 100, 256 * 1024
FRAMES_PER_S, BYTES_PER_S = 10.0, 16.0 * 1024


class Allowance:
    """A little in all until `admit`, from then on a token bucket each of frames and of bytes.

    ``now`` is a monotonic clock's, in seconds.
    """

    def __init__(self) -> None:
        self.is_admitted = False
        self._frames, self._bytes = float(UNADMITTED_FRAMES), float(UNADMITTED_BYTES)
        self._at = 0.0

    def admit(self, now: float) -> None:
        """Fill the buckets: the sender has been authenticated."""
        self.is_admitted = True
        self._frames, self._bytes = float(BURST_FRAMES), float(BURST_BYTES)
        self._at = now

    def takes(self, now: float, *, frames: int = 0, size: int = 0) -> bool:
        """Spend; False once more is spent than there is."""
        if self.is_admitted:
            passed, self._at = now - self._at, now
            self._frames = min(BURST_FRAMES, self._frames + passed * FRAMES_PER_S)
            self._bytes = min(BURST_BYTES, self._bytes + passed * BYTES_PER_S)
        self._frames -= frames
        self._bytes -= size
        return self._frames >= 0 and self._bytes >= 0
