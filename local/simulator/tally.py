"""Counts of the fixes since the start, with rates and round trips since the last line."""

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from local.simulator.outgoing import Settled


class Left(NamedTuple):
    """Fixes that were made and not answered: in flight, behind a full window, out of reach, given up."""

    unanswered: int
    waiting: int
    in_tunnels: int
    dropped: int


@dataclass
class SimulationTally:
    """``made`` by the vans, ``sent`` (resent ones again), and counted by ingest's replies."""

    made: int = 0
    sent: int = 0
    resent: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    _seconds: list[float] = field(default_factory=list)
    _sent_before: int = 0
    _answered_before: int = 0

    @property
    def answered(self) -> int:
        return self.answers.total()

    def settle(self, settled: Settled) -> None:
        self._seconds.append(settled.seconds)
        for item in settled.results:
            self.answers[item.result] += 1
            if item.result == "rejected":
                self.reasons[item.reason or "no reason given"] += 1

    def line(self, seconds: float, *, connected: str, left: Left) -> str:
        """Return one line on the ``seconds`` since the last one."""
        sent, answered = self.sent - self._sent_before, self.answered - self._answered_before
        self._sent_before, self._answered_before = self.sent, self.answered
        round_trips, self._seconds = sorted(self._seconds), []
        return (
            f"connected {connected}  sent {sent / seconds:,.0f}/s  answered {answered / seconds:,.0f}/s"
            f"  {self._totals(left)}"
            f"  round trip p50 {_milliseconds(round_trips, 0.5)} p95 {_milliseconds(round_trips, 0.95)}"
        )

    def summary(self, seconds: float, left: Left) -> str:
        """Return the summary of everything since the start."""
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in self.reasons.most_common(5))
        return (
            f"{self.made:,} fixes made in {seconds:.1f} s, {self.sent:,} sent (again: {self.resent:,}): "
            f"{self._totals(left)}{f'  ({reasons})' if reasons else ''}"
        )

    def _totals(self, left: Left) -> str:
        return (
            f"stored {self.answers['stored']:,}  duplicate {self.answers['duplicate']:,}"
            f"  rejected {self.answers['rejected']:,}  unanswered {left.unanswered:,}"
            f"  waiting {left.waiting:,}  in tunnels {left.in_tunnels:,}  dropped {left.dropped:,}"
        )


def _milliseconds(ordered: list[float], share: float) -> str:
    if not ordered:
        return "-"
    return f"{ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000:.0f} ms"
