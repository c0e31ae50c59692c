import ssl

import pytest

from broker.connection import aiomqtt_arguments, login
from core.identities import mqtt_secret
from tests.support.services.settings import make_settings

DATABASE = "postgresql://nobody@127.0.0.1/none"


@pytest.mark.parametrize(
    ("url", "host", "port", "has_tls"),
    [
        ("mqtt://broker.example", "broker.example", 1883, False),
        ("mqtt://10.0.0.1:1999", "10.0.0.1", 1999, False),
        ("mqtts://broker.example", "broker.example", 8883, True),
        ("mqtt://[::1]:1883", "::1", 1883, False),
    ],
)
def test_the_url_says_where_and_how(url: str, host: str, port: int, has_tls: bool) -> None:
    to = login(make_settings(DATABASE, url), "relay")
    assert (to.host, to.port, to.tls is not None) == (host, port, has_tls)


def test_the_secret_is_derived_for_the_user_and_never_printed() -> None:
    settings = make_settings(DATABASE)
    to = login(settings, "relay")
    assert to.secret == mqtt_secret(settings.mqtt_key.get_secret_value(), "relay")
    assert to.secret not in repr(to)


def test_tls_verifies_the_broker() -> None:
    arguments = aiomqtt_arguments(login(make_settings(DATABASE, "mqtts://broker.example"), "api-0"))
    context = arguments["tls_context"]
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
