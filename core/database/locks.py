"""PostgreSQL advisory locks: all keys of the project, and the statements that take them.

A single key and a pair of keys never collide. Processes of the version before take the same locks, so a key
never changes.
"""

import enum

from sqlalchemy import text


class Lock(enum.IntEnum):
    """The single keys: each guards one thing in the whole database."""

    PARTITIONS = 0x6D706F73  # "mpos": only one transaction makes partitions at a time
    MIGRATIONS = 0x6D6D6967  # "mmig": migrations run one at a time
    LEADER = 0x6D6C6561  # "mlea": held by the active jobs process (`jobs.leadership`)


class LockClass(enum.IntEnum):
    """The first keys of pairs: each guards one thing per second key."""

    API_SLOT = 0x6D617069  # "mapi": one broker user of the API each
    # One nightly work has the class NIGHT + CRC-32 of its name, and a lock per company. A unit test checks
    # that the names in use collide with no other class.
    NIGHT = -(2**31)


# Held until the transaction ends.
WAIT_IN_TRANSACTION = text("SELECT pg_advisory_xact_lock(:lock)")
TRY_PAIR_IN_TRANSACTION = text("SELECT pg_try_advisory_xact_lock(:lock, :item)")
# Held until released, or until the connection ends.
TRY = text("SELECT pg_try_advisory_lock(:lock)")
TRY_PAIR = text("SELECT pg_try_advisory_lock(:lock, :item)")
RELEASE = text("SELECT pg_advisory_unlock(:lock)")
# `TRY` for psycopg2 without SQLAlchemy.
TRY_BY_DRIVER = "SELECT pg_try_advisory_lock(%s)"
