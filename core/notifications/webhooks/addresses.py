"""The SSRF guard of webhooks: public addresses, and the private networks that the operator allows."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

from core.errors import InvalidValue
from core.settings.outgoing import Networks

LONGEST_URL = 2000
# IPv6 networks that embed an IPv4 address, with the number of bits to shift right to get it.
_CARRIERS = (
    (IPv6Network("::ffff:0:0/96"), 0),
    (IPv6Network("::/96"), 0),
    (IPv6Network("64:ff9b::/96"), 0),
    (IPv6Network("2002::/16"), 80),
)
# ``::`` and ``::1`` are within ``::/96`` but are IPv6's own: the unspecified address and loopback.
_OWN = IPv6Network("::/127")
# Listed here because Python's own tables differ between versions.
_NEVER = (
    IPv4Network("192.0.0.0/24"),
    IPv4Network("192.88.99.0/24"),
    IPv6Network("64:ff9b:1::/48"),
    IPv6Network("2001::/32"),
    IPv6Network("3fff::/20"),
    IPv6Network("5f00::/16"),
    IPv6Network("fec0::/10"),
)


def is_allowed(text: str, allowed: Networks) -> bool:
    """Return whether the API may connect to this address; an embedded IPv4 address is judged itself."""
    try:
        address = _address(text)
    except ValueError:
        return False
    return is_private_allowed(text, allowed) or _is_public(_embedded(address) or address)


def is_private_allowed(text: str, allowed: Networks) -> bool:
    """Return whether the operator allowed the address's network, where plain HTTP is allowed too."""
    address = _address(text)
    embedded = _embedded(address)
    if embedded is None:
        return any(address in network for network in allowed)
    # The outer address counts only in a network of embedded addresses: ``::/0`` allows IPv6's own addresses,
    # but no IPv4 address inside one.
    return any(
        embedded in network or (address in network and _embedded(network.network_address) is not None)
        for network in allowed
    )


def require_url(url: str, allowed: Networks) -> None:
    """Check the form of a URL. Raises `InvalidValue`.

    A host name is resolved at each call, not here, because its addresses may change.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise InvalidValue("url", "is not a URL") from None
    schemes = {"https", "http"} if allowed else {"https"}
    if parts.scheme not in schemes or not host or port == 0:
        raise InvalidValue("url", "must look like https://example.com/path")
    if parts.username is not None or parts.password is not None:
        raise InvalidValue("url", "must carry no user and password: calls are signed instead")
    if parts.fragment or not url.isascii() or not url.isprintable() or " " in url:
        raise InvalidValue("url", "must be ASCII without spaces, and without a #fragment")
    if _is_address(host) and not is_allowed(host, allowed):
        raise InvalidValue("url", "webhooks are not sent to private addresses")


def origin(url: str) -> str:
    """Return the URL without its path and query, which may hold a token."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}/…"


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    if any(address in network for network in _NEVER):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def _address(text: str) -> IPv4Address | IPv6Address:
    """Return the address without the scope of a link-local address, since networks have none."""
    return ip_address(text.partition("%")[0])


def _embedded(address: IPv4Address | IPv6Address) -> IPv4Address | None:
    """Return the IPv4 address inside an IPv6 one; None for any other address."""
    if isinstance(address, IPv6Address) and address not in _OWN:
        for network, shift in _CARRIERS:
            if address in network:
                return IPv4Address(int(address) >> shift & 0xFFFFFFFF)
    return None
