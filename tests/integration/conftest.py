"""A furnished company and the running application, for the tests of the API."""

from collections.abc import Iterator

import pytest
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from core.settings import Settings
from tests.support.api_client import House, furnish, running


@pytest.fixture
def house(session: Session) -> House:
    """One company with a person of each role and a pending delivery of theirs, committed."""
    return furnish(session)


@pytest.fixture
def client(settings: Settings) -> Iterator[TestClient]:
    with running(settings) as client:
        yield client
