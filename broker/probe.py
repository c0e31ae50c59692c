"""Probe the broker for a CLI command: does it let our user in, and what are its figures?"""

import time
from collections.abc import Callable
from contextlib import suppress

from broker import figures
from broker.connection import BrokerLogin
from broker.figures import Figures, Gauges
from broker.link import BrokerAway, BrokerLink

RETAINED_WITHIN_S = 1.0
UPDATED_WITHIN_S = 3.5  # more than sys_interval in mosquitto.conf


def read_figures(to: BrokerLogin) -> Figures:
    """Log in, read the broker's figures, and disconnect. Raises `BrokerAway`."""
    with BrokerLink(to) as link:
        for topic in figures.TOPICS:
            link.subscribe(topic)
        return _collect(link)


def _collect(link: BrokerLink) -> Figures:
    gauges = Gauges()
    with suppress(BrokerAway):  # figures that have not arrived by then stay unknown
        _receive(link, gauges, RETAINED_WITHIN_S, lambda: gauges.is_complete)
    if gauges.read().waiting is None:
        with suppress(BrokerAway):
            _trigger_update(link, gauges)
    return gauges.read()


def _trigger_update(link: BrokerLink, gauges: Gauges) -> None:
    """Make Mosquitto publish its figures: it keeps one for a minute, and publishes only changed ones."""
    # Twice: reading an expired figure has removed one retained message, which the first change may undo.
    # A broker set up by an older version refuses it until the jobs process has changed its roles.
    for payload in (b"1", b""):
        if link.wait_for_answers([link.publish(figures.UPDATE_TRIGGER, payload, retain=True)])[0].is_failure:
            return
        with suppress(BrokerAway):
            _receive(link, gauges, UPDATED_WITHIN_S, lambda: gauges.read().waiting is not None)


def _receive(link: BrokerLink, gauges: Gauges, within_s: float, done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + within_s
    while not done() and (left := deadline - time.monotonic()) > 0:
        gauges.note(*link.receive_message(left))
