"""Fair order of webhook calls: the slow endpoints of one tenant must not occupy all threads."""

from collections import Counter
from collections.abc import Collection, Sequence
from itertools import count

import msgspec


class Endpoint(msgspec.Struct, frozen=True):
    webhook_id: int
    company_id: int


class EndpointOrder:
    """At most ``at_once`` calls, ``of_a_company`` per company; the longest-waiting endpoint is first."""

    def __init__(self, at_once: int, of_a_company: int) -> None:
        self._at_once = at_once
        self._of_a_company = of_a_company
        self._numbers = count(1)
        self._called_last: dict[Endpoint, int] = {}

    def begin(self, ready: Sequence[Endpoint], busy: Collection[Endpoint]) -> list[Endpoint]:
        """Return the ``ready`` endpoints to call now, without ``busy`` ones; ties keep their order."""
        present = {*ready, *busy}
        self._called_last = {one: number for one, number in self._called_last.items() if one in present}
        calls = Counter(one.company_id for one in busy)
        begun: list[Endpoint] = []
        for one in sorted(ready, key=lambda one: self._called_last.get(one, 0)):
            if len(busy) + len(begun) == self._at_once:
                break
            if one not in busy and calls[one.company_id] < self._of_a_company:
                calls[one.company_id] += 1
                begun.append(one)
                self._called_last[one] = next(self._numbers)
        return begun
