"""Which services the tests run against: ``MILEPOST_TEST_SERVICES`` says, or Docker when it answers."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

import pytest

from tests.support.services.docker import DockerServices, docker_answers
from tests.support.services.local import local_services
from tests.support.services.mosquitto import BrokerServer
from tests.support.services.postgres import PostgresServer

VARIABLE = "MILEPOST_TEST_SERVICES"


class Services(Protocol):
    def postgres(self) -> AbstractContextManager[PostgresServer]: ...
    def mosquitto(self) -> AbstractContextManager[BrokerServer]: ...


def chosen(wanted: str) -> str:
    """``local`` or ``docker``. Ends the whole run for a wish that cannot be met."""
    if wanted not in {"", "local", "docker"}:
        pytest.exit(f"{VARIABLE} must be local or docker, not {wanted!r}", returncode=2)
    if wanted != "local" and docker_answers():
        return "docker"
    if wanted == "docker":
        pytest.exit(f"{VARIABLE}=docker, but no Docker engine answers", returncode=2)
    return "local"


@contextmanager
def open_services() -> Iterator[Services]:
    if chosen(os.environ.get(VARIABLE, "")) == "docker":
        yield DockerServices()
    else:
        with local_services() as services:
            yield services
