"""Admission control: slots for costly work, of which one tenant can hold only a part.

Uploads, streamed tracks and reports use it. A slot is released however its work ends.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from core.access.actors import Actor
from core.errors import DomainError


class Holder(NamedTuple):
    """A tenant, and the user or integration of it that holds the slot."""

    company_id: int
    name: str

    @classmethod
    def of(cls, actor: Actor) -> "Holder":
        return cls(actor.company_id, f"{actor.kind}:{actor.identity}")


class Admission:
    """At most ``slots`` at once, at most ``per_company`` of them per tenant and ``per_holder`` per actor.

    Used from the event loop only.
    """

    def __init__(
        self,
        busy: Callable[[], DomainError],
        *,
        slots: int,
        per_company: int,
        per_holder: int | None = None,
    ) -> None:
        self.free = slots
        self._busy = busy
        self._per_company = per_company
        self._per_holder = per_company if per_holder is None else per_holder
        self._taken: Counter[int | Holder] = Counter()

    @contextmanager
    def slot(self, holder: Holder) -> Iterator[None]:
        """Hold a slot for the block. Raises the error that ``busy`` returns when none is free."""
        if not self._admits(holder):
            raise self._busy()
        taken = (holder.company_id, holder)
        self.free -= 1
        self._taken.update(taken)
        try:
            yield
        finally:
            self.free += 1
            self._taken -= Counter(taken)  # also drops entries that reach zero

    def _admits(self, holder: Holder) -> bool:
        return (
            self.free > 0
            and self._taken[holder.company_id] < self._per_company
            and self._taken[holder] < self._per_holder
        )
