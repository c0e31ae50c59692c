"""Compose's health check of Mosquitto: true, and silent in the broker's log."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from local.services.ports import answers, free_port
from tests.support.services.mosquitto import Broker
from tests.support.waiting import wait_until

COMPOSE = Path(__file__).parents[3] / "docker-compose.yml"
OURS = f":{1883:04X} "


@pytest.fixture(scope="module")
def check() -> Sequence[str]:
    words: list[str] = yaml.safe_load(COMPOSE.read_text())["services"]["mosquitto"]["healthcheck"]["test"]
    assert words[0] == "CMD"
    assert words[3].count(OURS) == 1
    return words[1:]


def at(check: Sequence[str], port: int) -> Sequence[str]:
    return [word.replace(OURS, f":{port:04X} ") for word in check]


def test_the_health_check_sees_the_broker_without_connecting(broker: Broker, check: Sequence[str]) -> None:
    before = _connections(broker)
    assert subprocess.run(at(check, broker.port)).returncode == 0
    assert answers(broker.port)
    wait_until(lambda: _connections(broker) > before, what="the broker logs our own connection")
    assert _connections(broker) == before + 1


def _connections(broker: Broker) -> int:
    return broker.log().count("New connection")


def test_the_health_check_fails_where_none_listens(check: Sequence[str]) -> None:
    assert subprocess.run(at(check, free_port())).returncode == 1
