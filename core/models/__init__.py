"""The ORM models. Instants are ``timestamptz`` in UTC and end in ``_at`` or ``_time``; names carry units.

`position` has no ORM class: it is only written by COPY or one INSERT, and read in bulk (`core.positions`).
"""

# Foreign keys refer to tables by name, so all models must be imported as soon as one is used.
from core.models import (
    account,
    company,
    delivery,
    fleet,
    heartbeat,
    job,
    load_order,
    notification,
    people,
    proof,
    record,
    report,
)

__all__ = [
    "account",
    "company",
    "delivery",
    "fleet",
    "heartbeat",
    "job",
    "load_order",
    "notification",
    "people",
    "proof",
    "record",
    "report",
]
