"""What the broker says about itself to a command given by hand."""

from types import SimpleNamespace
from typing import Any, Self

import pytest

from broker import figures, probe
from broker.figures import TOPICS, Figures
from broker.link import BrokerAway


class QuietBroker:
    """Whose figures have expired: it says them again once something that is retained changes them."""

    def __init__(self, *, refuses: bool = False) -> None:
        self.refuses = refuses
        self.retained: dict[str, bytes] = {}
        self._messages: list[tuple[str, bytes]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def subscribe(self, _filter: str) -> None: ...

    def publish(self, topic: str, payload: bytes, *, retain: bool) -> int:
        assert retain
        if not self.refuses:
            self.retained[topic] = payload
        if not self.refuses and payload == b"":  # the first change made up for an expired message
            self._messages = [(TOPICS[0], b"152"), (TOPICS[1], b"52")]
        return 1

    def wait_for_answers(self, packet_ids: list[int]) -> list[Any]:
        return [SimpleNamespace(is_failure=self.refuses) for _ in packet_ids]

    def receive_message(self, _timeout_s: float) -> tuple[str, bytes]:
        if not self._messages:
            raise BrokerAway("no answer in time")
        return self._messages.pop(0)


@pytest.mark.parametrize(("refuses", "waiting"), [(False, 100), (True, None)])
def test_a_quiet_broker_is_made_to_say_its_figures(
    monkeypatch: pytest.MonkeyPatch, refuses: bool, waiting: int | None
) -> None:
    broker = QuietBroker(refuses=refuses)
    monkeypatch.setattr(probe, "BrokerLink", lambda _to: broker)
    to: Any = None
    assert probe.read_figures(to) == Figures(waiting, None)
    assert broker.retained.get(figures.UPDATE_TRIGGER, b"") == b""
