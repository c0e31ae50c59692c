"""The keys of advisory locks."""

import enum
import zlib

import pytest

from core.database.locks import Lock, LockClass
from jobs.schedule.run import Nightly
from jobs.schedule.table import JOBS


@pytest.mark.parametrize("keys", [Lock, LockClass])
def test_no_two_keys_are_the_same(keys: type[enum.IntEnum]) -> None:
    assert len(set(keys)) == len(keys.__members__)
    assert all(-(2**31) <= key < 2**31 for key in keys)


def test_nightly_works_collide_with_no_other_lock() -> None:
    works = [job.name for job in JOBS if isinstance(job.body, Nightly)]
    taken = {LockClass.NIGHT + zlib.crc32(work.encode()) for work in works}
    assert works
    assert len(taken) == len(works)
    assert not taken & set(LockClass)


def test_keys_are_those_of_earlier_versions() -> None:
    assert {key.to_bytes(4, "big") for key in (*Lock, LockClass.API_SLOT)} == {
        b"mpos",
        b"mmig",
        b"mlea",
        b"mapi",
    }
