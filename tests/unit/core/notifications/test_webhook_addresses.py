"""Where webhooks may go."""

from ipaddress import ip_network

import pytest

from core.errors import InvalidValue
from core.notifications.webhooks.addresses import is_allowed, is_private_allowed, require_url
from tests.support.services.settings import make_settings

PRIVATE = """
127.0.0.1 127.8.8.8 0.0.0.0 10.1.2.3 172.16.0.1 172.31.255.255 192.168.1.1 169.254.169.254 100.64.0.1
100.127.255.255 192.0.0.1 192.0.2.1 198.18.0.1 198.51.100.1 203.0.113.1 224.0.0.1 224.0.1.1 239.1.1.1
240.0.0.1 255.255.255.255 ::1 :: fe80::1 fe80::1%eth0 fc00::1 fd12:3456::1 fec0::1 ff02::1 ff0e::1
2001:db8::1 3fff::1 5f00::1 192.0.0.8 192.88.99.1
::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:169.254.169.254 ::127.0.0.1 64:ff9b::10.0.0.1 64:ff9b:1::1
2002:7f00:1:: 2002:a00:1:: 2001:0:1::1 garbage
"""
PUBLIC = "8.8.8.8 1.1.1.1 93.184.216.34 2606:4700::1111 2a00:1450::1 ::ffff:8.8.8.8 64:ff9b::8.8.8.8"


@pytest.mark.parametrize("address", PRIVATE.split())
def test_private_addresses_are_refused_in_every_disguise(address: str) -> None:
    assert not is_allowed(address, ())


@pytest.mark.parametrize("address", PUBLIC.split())
def test_public_addresses_are_allowed(address: str) -> None:
    assert is_allowed(address, ())


def test_networks_that_the_operator_allowed() -> None:
    allowed = (ip_network("10.1.0.0/16"), ip_network("fd00::/8"))
    assert is_allowed("10.1.2.3", allowed)
    assert is_allowed("::ffff:10.1.2.3", allowed)
    assert is_allowed("fd00::7", allowed)
    assert not is_allowed("10.2.0.1", allowed)
    assert not is_allowed("127.0.0.1", allowed)


@pytest.mark.parametrize(
    ("network", "address"),
    [
        ("::1/128", "::1"),
        ("::1", "::1"),
        ("::/128", "::"),
        ("::/0", "::1"),
        ("fe80::/10", "fe80::1%eth0"),
        ("fe80::%eth0/64", "fe80::1%eth0"),
        ("127.0.0.0/8", "::ffff:127.0.0.1"),
        ("::ffff:10.0.0.0/104", "::ffff:10.1.2.3"),
        ("::ffff:10.0.0.0/104", "10.1.2.3"),
        ("64:ff9b::/96", "64:ff9b::10.1.2.3"),
        ("2002:a00::/24", "2002:a01:203::1"),
    ],
)
def test_allowed_network_matches_its_addresses_as_written(network: str, address: str) -> None:
    allowed = make_settings("postgresql://x@h/d", webhook_allowed_networks=network).webhook_networks
    assert is_allowed(address, allowed)
    assert is_private_allowed(address, allowed)
    assert not is_allowed(address, ())


@pytest.mark.parametrize(
    ("network", "address"),
    [
        ("::1/128", "0.0.0.1"),
        ("::1/128", "::2"),
        ("::1/128", "127.0.0.1"),
        ("::/0", "::ffff:127.0.0.1"),
        ("::/0", "64:ff9b::169.254.169.254"),
        ("::/0", "2002:7f00:1::"),
        ("64:ff9b::/96", "10.1.2.3"),
        ("0.0.0.0/8", "::1"),
        ("10.0.0.0/8", "fe80::1%eth0"),
    ],
)
def test_allowed_network_matches_no_disguise_of_another(network: str, address: str) -> None:
    assert not is_allowed(address, (ip_network(network),))


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/",
        "ftp://example.com/",
        "https://",
        "https:///path",
        "https://user:pw@example.com/",
        "https://@example.com/",
        "https://example.com/#part",
        "https://example.com:0/",
        "https://example.com:99999/",
        "https://[::1",
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://169.254.169.254/latest/meta-data",
        "https://[::ffff:10.0.0.1]/",
        "https://exa mple.com/",
        "https://example.com/\r\nX: y",
        "https://ex\u00e4mple.com/",
    ],
)
def test_urls_that_are_refused_when_they_are_given(url: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        require_url(url, ())
    assert refused.value.facts["errors"][0]["field"] == "url"


def test_plain_http_is_for_allowed_networks() -> None:
    require_url("https://example.com:8443/hook?a=b", ())
    require_url("http://10.1.2.3/", (ip_network("10.0.0.0/8"),))
    with pytest.raises(InvalidValue):
        require_url("http://127.0.0.1/", (ip_network("10.0.0.0/8"),))
