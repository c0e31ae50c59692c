"""DNS resolution of the database's host outside libpq, whose own look-up would block the process."""

import asyncio
import ipaddress
import socket
from collections.abc import Callable, Sequence
from typing import Any

import psycopg2
from psycopg2.extensions import make_dsn, parse_dsn

PORT = "5432"


def resolved(dsn: str, resolve: Callable[[str, str], list[str]]) -> str:
    """Return ``dsn`` with the addresses of its hosts added; unchanged if it has no host names.

    The names are kept, because TLS verifies them. Raises `psycopg2.OperationalError` if a name has no address
    or the look-up times out.
    """
    parts = parse_dsn(dsn)
    hosts = parts.get("host", "").split(",")
    if "hostaddr" in parts or not all(_is_network(host) for host in hosts) or all(map(_is_address, hosts)):
        return dsn
    ports = parts.get("port", PORT).split(",")
    if len(ports) == 1:
        ports *= len(hosts)
    try:
        found = [(h, a, p) for h, p in zip(hosts, ports, strict=True) for a in resolve(h, p or PORT)]
    except OSError as error:  # unknown name, or time-out
        raise psycopg2.OperationalError(f"could not look up {parts['host']}: {error}") from error
    host, address, port = (",".join(column) for column in zip(*found, strict=True))
    return make_dsn(dsn, host=host, hostaddr=address, port=port)


def addresses(host: str, port: str) -> list[str]:
    """Resolve a host name, blocking the thread. Raises `OSError`."""
    return _unique(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))


async def find_addresses(loop: asyncio.AbstractEventLoop, host: str, port: str) -> list[str]:
    return _unique(await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM))


def _unique(found: Sequence[tuple[Any, ...]]) -> list[str]:
    return list(dict.fromkeys(str(where[0]) for *_, where in found))


def _is_network(host: str) -> bool:
    """Return whether ``host`` is reached over the network: not a Unix socket, which is libpq's default."""
    return bool(host) and host[0] not in "/@"


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
