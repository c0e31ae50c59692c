"""What of a flood is kept, decided without a database."""

from core.records.quarantine import Quarantined
from core.records.quarantine_bounds import (
    COMPANY,
    DEVICE,
    LAST_BYTES,
    MAXIMUM_RAW_BYTES,
    Allotted,
    CountKey,
    HourCount,
    allot,
    company_of,
)


def message(device: str = "a", size: int = 10, company: int | None = 1) -> Quarantined:
    return Quarantined(
        company_id=company, device_id=device, topic="t", raw=b"x" * size, reason="bad_json", detail=""
    )


def counts_of(*messages: Quarantined) -> dict[CountKey, HourCount]:
    devices = {(one.company_id, one.device_id) for one in messages}
    return {
        key: HourCount(number, COMPANY if key[1] is None else DEVICE, 0, 0, 0, 0, None, False)
        for number, key in enumerate(devices | {company_of(key) for key in devices})
    }


def flooded(messages: list[Quarantined]) -> tuple[Allotted[Quarantined], dict[CountKey, HourCount]]:
    counts = counts_of(*messages)
    return allot(counts, messages), counts


def test_the_first_and_the_last_are_kept_the_others_counted() -> None:
    messages = [message(size=10 + number) for number in range(250)]
    allotted, counts = flooded(messages)
    assert allotted.kept == messages[: DEVICE.rows]
    assert allotted.last == {(1, "a"): messages[-1]}
    device = counts[1, "a"]
    assert (device.kept_rows, device.not_kept_rows) == (DEVICE.rows, 150)
    assert device.not_kept_bytes == sum(len(one.raw) for one in messages[DEVICE.rows :])


def test_large_messages_are_bounded_by_their_bytes() -> None:
    allotted, counts = flooded([message(size=500_000) for _ in range(200)])
    assert len(allotted.kept) == DEVICE.raw_bytes // MAXIMUM_RAW_BYTES
    assert counts[1, None].kept_bytes == DEVICE.raw_bytes + LAST_BYTES


def test_a_device_leaves_a_share_to_its_companys_others() -> None:
    allotted, _counts = flooded([*(message("a") for _ in range(5_000)), message("b")])
    assert allotted.kept[-1].device_id == "b"


def test_a_company_is_bounded_however_many_devices_flood() -> None:
    messages = [message(f"d{device}") for _ in range(DEVICE.rows) for device in range(50)]
    allotted, counts = flooded(messages)
    assert len(allotted.kept) == COMPANY.rows
    assert allotted.last == {(1, None): messages[-1]}
    assert sum(count.not_kept_rows for key, count in counts.items() if key[1]) == 5_000 - COMPANY.rows
    assert [key for key, count in counts.items() if count.has_just_filled] == [(1, None)]


def test_companies_and_unknown_devices_have_bounds_of_their_own() -> None:
    flood = [message("a") for _ in range(200)]
    others = [message("a", company=2), message("a", company=None)]
    allotted, _counts = flooded([*flood, *others])
    assert allotted.kept[-2:] == others
