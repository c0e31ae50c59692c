"""Looking up the database's hosts before libpq does."""

import psycopg2
import pytest
from psycopg2.extensions import parse_dsn

from core.database.host_names import addresses, resolved

KNOWN = {"one": ["10.0.0.1"], "two": ["10.0.0.2", "fd00::2"]}


def look(host: str, _port: str) -> list[str]:
    return KNOWN.get(host) or addresses(host, "1")


@pytest.mark.parametrize(
    "dsn",
    [
        "dbname=x",
        "host='' dbname=x",
        "host=/run/postgresql",
        "host=@abstract",
        "host=127.0.0.1 port=5433",
        "host=::1,10.0.0.1",
        "host=one hostaddr=10.0.0.9",
    ],
)
def test_what_needs_no_look_up_stays_as_it_is(dsn: str) -> None:
    assert resolved(dsn, look) == dsn


@pytest.mark.parametrize(
    ("dsn", "expected"),
    [
        ("host=one", {"host": "one", "hostaddr": "10.0.0.1", "port": "5432"}),
        ("host=two port=7", {"host": "two,two", "hostaddr": "10.0.0.2,fd00::2", "port": "7,7"}),
        (
            "host=one,10.0.0.3 port=7,",
            {"host": "one,10.0.0.3", "hostaddr": "10.0.0.1,10.0.0.3", "port": "7,"},
        ),
    ],
)
def test_every_address_stands_beside_its_name(dsn: str, expected: dict[str, str]) -> None:
    assert parse_dsn(resolved(f"{dsn} sslmode=verify-full", look)) == expected | {"sslmode": "verify-full"}


def test_an_unknown_name_is_a_database_that_is_away() -> None:
    with pytest.raises(psycopg2.OperationalError, match=r"could not look up nowhere\.invalid"):
        resolved("host=nowhere.invalid", look)
