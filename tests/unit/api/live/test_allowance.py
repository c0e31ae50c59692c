"""How much one WebSocket may send before and after its token."""

from api.live.socket.allowance import (
    BURST_BYTES,
    BURST_FRAMES,
    BYTES_PER_S,
    FRAMES_PER_S,
    UNADMITTED_BYTES,
    UNADMITTED_FRAMES,
    Allowance,
)


def test_stranger_has_little_in_all_however_long_it_takes() -> None:
    allowance = Allowance()
    assert all(allowance.takes(hour * 3600.0, frames=1) for hour in range(UNADMITTED_FRAMES))
    assert not allowance.takes(1e6, frames=1)
    assert Allowance().takes(0.0, size=UNADMITTED_BYTES)
    assert not Allowance().takes(0.0, size=UNADMITTED_BYTES + 1)


def test_admitted_client_has_a_burst_and_then_a_rate() -> None:
    allowance = Allowance()
    allowance.admit(50.0)
    assert allowance.takes(50.0, frames=BURST_FRAMES, size=BURST_BYTES)
    assert allowance.takes(51.0, frames=int(FRAMES_PER_S), size=int(BYTES_PER_S))
    assert not allowance.takes(51.0, frames=1)


def test_silence_saves_no_more_than_a_burst() -> None:
    allowance = Allowance()
    allowance.admit(0.0)
    assert not allowance.takes(1e6, frames=BURST_FRAMES + 1)
    allowance.admit(0.0)
    assert not allowance.takes(1e6, size=BURST_BYTES + 1)
