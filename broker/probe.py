"""Probe the broker for a CLI command: does it let our user in, and what are its figures?"""

import time
from contextlib import suppress

from broker import figures
from broker.connection import BrokerLogin
from broker.figures import Figures, Gauges
from broker.link import BrokerAway, BrokerLink

FIGURES_WITHIN_S = 2.0  # they are retained, so they arrive at once unless the broker has just started


def ask(to: BrokerLogin) -> Figures:
    """Log in, read the broker's figures, and disconnect. Raises `BrokerAway`."""
    with BrokerLink(to) as link:
        for topic in figures.TOPICS:
            link.subscribe(topic)
        return _collect(link)


def _collect(link: BrokerLink) -> Figures:
    gauges, deadline = Gauges(), time.monotonic() + FIGURES_WITHIN_S
    with suppress(BrokerAway):  # figures that have not arrived by then stay unknown
        while not gauges.is_complete and (left := deadline - time.monotonic()) > 0:
            gauges.note(*link.receive_message(left))
    return gauges.read()
