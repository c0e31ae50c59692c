"""Exponential back-off with full jitter, so that a fleet of clients never retries in step."""

import random
from dataclasses import dataclass


@dataclass
class Backoff:
    """``next()`` returns the seconds to wait before the next try; call ``reset()`` after a success."""

    base_s: float = 0.25
    limit_s: float = 15.0
    tries: int = 0

    def next(self) -> float:
        ceiling = min(self.limit_s, self.base_s * 2 ** min(self.tries, 16))
        self.tries += 1
        return random.uniform(0, ceiling)  # noqa: S311  # spreads load, guards nothing

    def reset(self) -> None:
        self.tries = 0
