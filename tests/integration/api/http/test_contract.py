"""The OpenAPI document against the running server: each operation is called, each answer was declared.

Every route that the document has is walked, none is listed here. A fixed seed makes each run send the same
requests, but for what the server or the database draws: ids of rows, and the boundaries of multipart bodies.
"""

import string
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, strategies
from hypothesis import settings as examples
from schemathesis import CheckContext, Response
from schemathesis.core.result import Ok
from schemathesis.openapi.checks import RejectedPositiveData
from schemathesis.pytest.lazy import get_all_tests
from schemathesis.specs.openapi.checks import positive_data_acceptance
from sqlalchemy import Connection, select, text
from sqlalchemy.orm import Session

from core.database.engine import make_engine, make_sessions
from core.models.base import Base
from core.models.people import AppUser
from core.settings import Settings
from tests.support.api_client import bearer, document, furnish
from tests.support.servers.live_server import LiveServer
from tests.support.services.choice import Services
from tests.support.services.mosquitto import Broker
from tests.support.services.postgres import Databases
from tests.support.services.settings import make_settings

SETTINGS = examples(
    max_examples=12,  # for each operation, beside the examples and the boundary cases of its schema
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
# JSON Schema has no pattern for these; without a strategy nearly all of the walk's e-mails would be refused.
# `strategies.emails` draws from a regular expression: `POST /auth/reset` alone took 22 s of CPU with it.
LETTERS = string.ascii_letters + string.digits
schemathesis.openapi.format(
    "idn-email",
    strategies.builds(
        "{}@{}.{}".format,
        strategies.text(f"{LETTERS}!#$%&'*+-/=^_`{{|}}~", min_size=1, max_size=64),
        strategies.text(LETTERS, min_size=1, max_size=63),
        strategies.sampled_from(["com", "DE", "Example", "museum"]),
    ),
)
schema = schemathesis.openapi.from_dict(document())
schema.config.seed = 0  # otherwise drawn anew for each run
# A body that is far too long is refused as a whole, before its fields are looked at.
schema.config.checks.negative_data_rejection.expected_statuses += ["413"]
rows: dict[str, Any] = {}  # by table: the id of a row there is


@schema.hook
def map_path_parameters(_context: Any, path_parameters: dict[str, Any] | None) -> dict[str, Any] | None:
    """Every other id is one of a row, for what is missing answers 404 before anything else is tried."""
    for name, value in (path_parameters or {}).items():
        table = name.removesuffix("_id")
        row = rows.get(table, rows.get(f"app_{table}"))
        if path_parameters is not None and row is not None and len(str(value)) % 2:
            path_parameters[name] = row
    return path_parameters


@dataclass(frozen=True)
class Running:
    url: str
    settings: Settings
    manager: AppUser
    connection: Connection

    @property
    def headers(self) -> dict[str, str]:
        """A token of now: the walk may change the password or log out, which ends the one before."""
        epoch = select(AppUser.token_epoch).where(AppUser.id == self.manager.id)
        return bearer(self.settings, AppUser(id=self.manager.id, token_epoch=self.connection.scalar(epoch)))


@pytest.fixture(scope="module")
def running(services: Services, databases: Databases) -> Iterator[Running]:
    """A server of this module's own, and a manager's token."""
    with databases.fresh() as url, services.mosquitto() as mosquitto:
        broker = Broker(mosquitto)
        engine = make_engine(make_settings(url), process="test")
        with make_sessions(engine)() as session:
            manager = furnish(session).manager
            broker.write(session)
            rows.update(_rows(session))
        broker.start()
        server = LiveServer(make_settings(url, broker.url, broker.mqtt_key))
        server.start()
        # Kept open, without transactions: each of thousands of requests reads the token's epoch on it.
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            yield Running(f"http://127.0.0.1:{server.port}", server.settings, manager, connection)
        engine.dispose()
        server.stop()


def _rows(session: Session) -> dict[str, Any]:
    return {
        name: session.execute(text(f"SELECT min(id) FROM {name}")).scalar()
        for name, table in Base.metadata.tables.items()
        if "id" in table.c
    }


OPERATIONS = [(method.upper(), path) for path, methods in document()["paths"].items() for method in methods]


@pytest.mark.parametrize(("method", "path"), OPERATIONS, ids=map(" ".join, OPERATIONS))
def test_every_answer_is_declared(method: str, path: str, running: Running) -> None:
    # `schema.parametrize` would make all cases while tests are collected: half a minute in every worker.
    one = schema.include(method=method, path=path)
    (made,) = get_all_tests(schema=one, test_func=_validate_answers, settings=SETTINGS, given_kwargs=None)
    assert isinstance(made, Ok), made
    _operation, test = made.ok()
    test(running=running)


def _validate_answers(case: Any, running: Running) -> None:
    case.call_and_validate(
        base_url=running.url,
        headers=running.headers,
        additional_checks=[what_the_schema_allows_is_taken],
        excluded_checks=[positive_data_acceptance],
    )


def what_the_schema_allows_is_taken(context: CheckContext, response: Response, case: Any) -> None:
    """`positive_data_acceptance`, but for rules that no schema can tell.

    These are those of core (an id must be of a row of the company, a reason is due for some statuses, a
    cursor is one of ours), whose answers have a ``detail`` of their own, and those over several fields.
    """
    try:
        positive_data_acceptance(context, response, case)
    except RejectedPositiveData:
        problem = response.json()
        if response.status_code != 422 or (
            problem["detail"] == "See errors."
            and any(not _is_object(case.body, error["field"]) for error in problem["errors"])
        ):
            raise


def test_the_token_held_to_the_end(running: Running) -> None:
    """A 401 is always declared: a walk that had locked itself out would have seen nothing else."""
    assert httpx.get(f"{running.url}/me/", headers=running.headers).status_code == 200


def _is_object(body: Any, field: str) -> bool:
    """Whether what was sent as this field (``items.0.description``; ``body``: all of it) is an object."""
    for step in [] if field == "body" else field.split("."):
        body = body[int(step)] if isinstance(body, list) else body.get(step)
    return isinstance(body, dict)
