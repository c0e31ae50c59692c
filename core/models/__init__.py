"""The tables. Instants are ``timestamptz`` in UTC and end in ``_at`` or ``_time``; units stand in the names.

`position` is no ORM class: it is only written by COPY and read in bulk (`core.positions`).
"""

# Foreign keys name tables, so all of them must be known as soon as one is used.
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
