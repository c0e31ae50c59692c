"""Mosquitto's figures about itself, below ``$SYS``: published when changed, and retained for 60 s."""

import msgspec

_STORED = "$SYS/broker/store/messages/count"
_RETAINED = "$SYS/broker/retained messages/count"
_DROPPED = "$SYS/broker/publish/messages/dropped"
TOPICS = (_STORED, _RETAINED, _DROPPED)
ALL = "$SYS/"
UPDATE_TRIGGER = "status/stirrer"  # a retained message here changes what is stored and what is retained
_LARGEST_NUMBER = 20


class Figures(msgspec.Struct, frozen=True):
    """``waiting``: messages that the broker queues for sessions, ingest's among them.

    ``dropped``: messages discarded since its start, for any client. None: not known.
    """

    waiting: int | None
    dropped: int | None


class Gauges:
    """Collects the broker's figures as they arrive."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def note(self, topic: str, payload: bytes) -> None:
        """Keep one figure; ignore other topics and payloads that are no number."""
        if topic in TOPICS and payload.isdigit() and len(payload) <= _LARGEST_NUMBER:
            self._numbers[topic] = int(payload)

    def reset(self) -> None:
        self._numbers.clear()

    @property
    def is_complete(self) -> bool:
        return len(self._numbers) == len(TOPICS)

    def read(self) -> Figures:
        stored, retained = self._numbers.get(_STORED), self._numbers.get(_RETAINED)
        waiting = None if stored is None or retained is None else max(0, stored - retained)
        return Figures(waiting, self._numbers.get(_DROPPED))
