"""Probe the broker for a CLI command: does it let our user in, and what are its figures?"""

import time
from collections.abc import Callable
from contextlib import suppress

from broker import figures
from broker.connection import BrokerLogin
from broker.figures import Figures, Gauges
from broker.link import BrokerAway, BrokerLink

AT_ONCE_S = 1.0  # for what is retained
STIRRED_WITHIN_S = 3.5  # more than sys_interval in mosquitto.conf


def ask(to: BrokerLogin) -> Figures:
    """Log in, read the broker's figures, and disconnect. Raises `BrokerAway`."""
    with BrokerLink(to) as link:
        for topic in figures.TOPICS:
            link.subscribe(topic)
        return _collect(link)


def _collect(link: BrokerLink) -> Figures:
    gauges = Gauges()
    with suppress(BrokerAway):  # figures that have not arrived by then stay unknown
        _listen(link, gauges, AT_ONCE_S, lambda: gauges.is_complete)
    if gauges.read().waiting is None:
        with suppress(BrokerAway):
            _stir(link, gauges)
    return gauges.read()


def _stir(link: BrokerLink, gauges: Gauges) -> None:
    """Change the figures: Mosquitto keeps one for a minute only, and says it again only when it has changed.

    Twice: asking for an expired one has made it one retained message less, which the first change may undo.
    A broker set up by an older version refuses it until the jobs process has changed its roles.
    """
    for payload in (b"1", b""):
        if link.wait_for_answers([link.publish(figures.STIRRER, payload, retain=True)])[0].is_failure:
            return
        with suppress(BrokerAway):
            _listen(link, gauges, STIRRED_WITHIN_S, lambda: gauges.read().waiting is not None)


def _listen(link: BrokerLink, gauges: Gauges, within_s: float, done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + within_s
    while not done() and (left := deadline - time.monotonic()) > 0:
        gauges.note(*link.receive_message(left))
