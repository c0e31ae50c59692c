"""The broker's address and our login: the one place that reads the URL and derives our secret."""

import ssl
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from core.identities import mqtt_secret
from core.settings import Settings

PLAIN_PORT = 1883
TLS_PORT = 8883


@dataclass(frozen=True)
class BrokerLogin:
    """Everything that a client of any library needs to connect; its repr shows no secret."""

    host: str
    port: int
    user_name: str
    secret: str = field(repr=False)
    tls: ssl.SSLContext | None = field(default=None, repr=False)


def login(settings: Settings, user_name: str, version: int = 1) -> BrokerLogin:
    """Return the login of one of our service users. Raises `OSError` or `ssl.SSLError` on a bad CA file."""
    url = urlsplit(settings.mqtt_url)
    tls = tls_context(settings) if url.scheme == "mqtts" else None
    return BrokerLogin(
        host=url.hostname or "",
        port=url.port or (TLS_PORT if tls else PLAIN_PORT),
        user_name=user_name,
        secret=mqtt_secret(settings.mqtt_key.get_secret_value(), user_name, version),
        tls=tls,
    )


def tls_context(settings: Settings) -> ssl.SSLContext:
    """Return a context that verifies the broker's certificate and name, by our CA file or the system's."""
    return ssl.create_default_context(cafile=str(settings.mqtt_ca_file) if settings.mqtt_ca_file else None)


def paho_client(to: BrokerLogin) -> paho.Client:
    """Return a paho MQTT 5 client; the caller connects it with ``connect(to.host, to.port, …)``."""
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id=to.user_name, protocol=paho.MQTTv5)
    client.username_pw_set(to.user_name, to.secret)
    if to.tls is not None:
        client.tls_set_context(to.tls)
    return client


def aiomqtt_arguments(to: BrokerLogin) -> dict[str, Any]:
    """Return the keyword arguments of `aiomqtt.Client` for this login."""
    return {
        "hostname": to.host,
        "port": to.port,
        "username": to.user_name,
        "password": to.secret,
        "identifier": to.user_name,
        "protocol": paho.MQTTv5,
        "tls_context": to.tls,
    }
