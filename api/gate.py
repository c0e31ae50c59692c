"""The gate before costly work: it admits as much as has a slot and answers the rest with 503.

Password hashing, uploads, streamed tracks and reports have one each. Those that queue for a time instead of
being counted (database connections, the threads of the fast path) end in SQLAlchemy's `TimeoutError`.
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


class Gate:
    """At most ``slots`` at once, at most ``per_company`` of them per tenant and ``per_holder`` per actor.

    ``busy`` returns the error of a refusal. Used from the event loop only.
    """

    def __init__(
        self,
        busy: Callable[[], DomainError],
        *,
        slots: int,
        per_company: int | None = None,
        per_holder: int | None = None,
    ) -> None:
        self.free = slots
        self._busy = busy
        self._per_company = slots if per_company is None else per_company
        self._per_holder = self._per_company if per_holder is None else per_holder
        self._taken: Counter[int | Holder] = Counter()

    @contextmanager
    def slot(self, holder: Holder | None = None) -> Iterator[None]:
        """Hold a slot for the block, however it ends. Raises the error of ``busy`` when none is free.

        Without a ``holder`` no share is counted: the client is not authenticated yet.
        """
        if self.free <= 0 or (holder and not self._has_share(holder)):
            raise self._busy()
        shares = (holder.company_id, holder) if holder else ()
        self.free -= 1
        self._taken.update(shares)
        try:
            yield
        finally:
            self._taken -= Counter(shares)  # also drops entries that reach zero
            self.free += 1

    def _has_share(self, holder: Holder) -> bool:
        return self._taken[holder.company_id] < self._per_company and self._taken[holder] < self._per_holder
