from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker import topics
from broker.topics import AlertTopic, DeliveryTopic, TopicError, UpTopic, VehicleTopic

DEVICE = "k3v9x0q2ma"
UNCLEAN = [
    "",
    "a+b",
    "#",
    "+",
    "a/b",
    "a\0b",
    "../x",
    "%u",
    "$SYS",
    "x" * 300,
    "'; DROP TABLE device; --",
    "аcme",  # noqa: RUF001  # a Cyrillic a
    "K3V9X0Q2MA",
    "k3v9x0q2ma\n",
    " k3v9x0q2m",
    "１２３４５６７８９０",  # noqa: RUF001  # digits, but not ours
]


@pytest.mark.parametrize("unclean", UNCLEAN)
def test_no_builder_lets_an_unclean_id_into_a_topic(unclean: str) -> None:
    builders: list[Callable[[], str]] = [
        lambda: topics.up(unclean, DEVICE, "location"),
        lambda: topics.up("3", unclean, "location"),
        lambda: topics.up("3", DEVICE, unclean),
        lambda: topics.reply(unclean),
        lambda: topics.command(unclean),
        lambda: topics.position(unclean, 1),
        lambda: topics.status(unclean, 1),
        lambda: topics.alert(unclean, "low_battery", 1),
        lambda: topics.alert("acme", unclean, 1),
        lambda: topics.shard_filter(unclean),
        lambda: topics.company_filter(unclean),
    ]
    for build in builders:
        with pytest.raises(TopicError):
            build()


@pytest.mark.parametrize("number", [0, -1, True, 1.5, "1", None])
def test_no_builder_takes_a_number_that_is_no_id(number: int) -> None:
    for build in (topics.position, topics.status):
        with pytest.raises(TopicError):
            build("acme", number)


def test_topics_are_those_of_the_contract() -> None:
    assert topics.up("3", DEVICE, "location") == "up/3/k3v9x0q2ma/location"
    assert topics.reply(DEVICE) == "down/k3v9x0q2ma/reply"
    assert topics.command(DEVICE) == "down/k3v9x0q2ma/command"
    assert topics.position("acme", 7) == "fleet/acme/vehicles/7/position"
    assert topics.status("acme", 42) == "fleet/acme/deliveries/42/status"
    assert topics.alert("acme", "low_battery", 7) == "fleet/acme/alerts/low_battery/7"
    assert topics.shard_filter("f") == "up/f/+/#"
    assert topics.company_filter("acme") == "fleet/acme/#"


def test_what_is_built_parses_back() -> None:
    assert topics.parse_up(topics.up("a", DEVICE, "status")) == UpTopic("a", DEVICE, "status")
    assert topics.parse_fleet(topics.position("acme", 7)) == VehicleTopic("acme", 7)
    assert topics.parse_fleet(topics.status("acme", 42)) == DeliveryTopic("acme", 42)
    assert topics.parse_fleet(topics.alert("acme", "speeding", 7)) == AlertTopic("acme", "speeding", 7)


def test_what_an_app_appends_below_its_format_is_the_rest() -> None:
    assert topics.parse_up(f"up/0/{DEVICE}/owntracks/event/x") == UpTopic("0", DEVICE, "owntracks", "event/x")


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "up",
        f"up/3/{DEVICE}",
        f"up/3/{DEVICE}/",
        f"up/g/{DEVICE}/location",
        f"up/33/{DEVICE}/location",
        "up/3/short/location",
        f"up/3/{DEVICE}/LOCATION",
        f"/up/3/{DEVICE}/location",
        f"down/3/{DEVICE}/location",
    ],
)
def test_other_topics_are_not_a_devices(topic: str) -> None:
    assert topics.parse_up(topic) is None


@pytest.mark.parametrize(
    "topic",
    [
        "fleet/acme/vehicles/0/position",
        "fleet/acme/vehicles/01/position",
        "fleet/acme/vehicles/-1/position",
        "fleet/acme/vehicles/x/position",
        "fleet/acme/vehicles/7/position/x",
        "fleet/Acme/vehicles/7/position",
        "fleet/acme/vehicles/7/status",
        "fleet/acme/deliveries/99999999999999999999/status",
        "fleet/acme/alerts//7",
        "fleet/acme",
    ],
)
def test_other_topics_are_no_facts(topic: str) -> None:
    assert topics.parse_fleet(topic) is None


@given(st.text())
def test_parsers_never_raise(topic: str) -> None:
    for text in (topic, f"up/3/{topic}", f"fleet/{topic}"):
        topics.parse_up(text)
        topics.parse_fleet(text)
