"""The broker's own figures, as they arrive."""

from broker.figures import TOPICS, Figures, Gauges


def test_what_waits_is_what_is_stored_and_not_retained() -> None:
    gauges = Gauges()
    assert gauges.read() == Figures(None, None)
    for topic, payload in zip(TOPICS, (b"152", b"52", b"3"), strict=True):
        gauges.note(topic, payload)
    assert gauges.is_complete
    assert gauges.read() == Figures(100, 3)


def test_figures_of_two_moments_never_give_less_than_nothing() -> None:
    gauges = Gauges()
    for topic, payload in zip(TOPICS, (b"50", b"52", b"0"), strict=True):
        gauges.note(topic, payload)
    assert gauges.read().waiting == 0


def test_what_is_no_number_or_no_topic_of_these_is_ignored() -> None:
    gauges = Gauges()
    for payload in (b"", b"-1", b"many", "²".encode(), b"1" * 21):
        gauges.note(TOPICS[2], payload)
    gauges.note("$SYS/broker/uptime", b"1")
    assert gauges.read() == Figures(None, None)
