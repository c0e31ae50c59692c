"""Settings of outgoing messages: e-mail, the links in it, and webhooks."""

from email.utils import parseaddr
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings

from core.rules.text import emails

Networks = tuple[IPv4Network | IPv6Network, ...]
_MAPPED = IPv6Network("::ffff:0:0/96")
SMTP_PORTS = {"starttls": 587, "tls": 465, "none": 25}


def _networks(text: str) -> Networks:
    return tuple(_plain(ip_network(part.strip())) for part in text.split(",") if part.strip())


def _plain(network: IPv4Network | IPv6Network) -> IPv4Network | IPv6Network:
    """Return the IPv4 network of an IPv4-mapped one such as ``::ffff:10.0.0.0/104``; others unchanged."""
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        return IPv4Network((int(network.network_address) & 0xFFFFFFFF, network.prefixlen - 96))
    return network


def _names_networks(text: str) -> str:
    try:
        _networks(text)
    except ValueError as error:
        raise ValueError(f"must be networks such as 10.0.0.0/8, separated by commas: {error}") from None
    return text


def _public_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("must look like https://track.example.com")
    return url.rstrip("/")


def _address(text: str) -> str:
    shape = "must look like: Acme <noreply@example.com>, or noreply@example.com"
    address = parseaddr(text)[1]
    is_whole = text.strip() == address or text.strip().endswith(f"<{address}>")
    if not is_whole or any(mark in text for mark in '\r\n"(),:;[]\\'):
        raise ValueError(shape)
    try:
        emails.require_usable(address)
    except emails.BadAddress as bad:
        raise ValueError(f"{shape}: the address {bad}") from None
    return text


class OutgoingSettings(BaseSettings):
    smtp_host: str | None = Field(default=None, description="Mail server; unset: no e-mail is sent")
    smtp_port: int | None = Field(
        default=None,
        ge=1,
        le=65535,
        description="Port of the mail server; unset: 587, 465 or 25 by MILEPOST_SMTP_TLS",
    )
    smtp_tls: Literal["starttls", "tls", "none"] = Field(
        default="starttls", description="TLS to the mail server; none only without a password"
    )
    smtp_user: str | None = Field(default=None, description="User name at the mail server, with the password")
    smtp_password: SecretStr | None = Field(default=None, description="Password at the mail server")
    smtp_from: Annotated[str, AfterValidator(_address)] | None = Field(
        default=None,
        description="Sender of all e-mails, as in Acme <noreply@example.com>; required with a server",
    )
    public_url: Annotated[str, AfterValidator(_public_url)] | None = Field(
        default=None, description="Address of the API as people reach it: links in e-mails begin with it"
    )
    webhook_allowed_networks: Annotated[str, AfterValidator(_names_networks)] = Field(
        default="",
        description="Private networks to which webhooks may go, by http:// too, as in"
        " 10.1.0.0/16,fd00::/8. Set it for api and jobs; unset: none",
    )

    @model_validator(mode="after")
    def _smtp_is_complete(self) -> "OutgoingSettings":
        if self.smtp_host and not self.smtp_from:
            raise ValueError("MILEPOST_SMTP_FROM is not set: e-mails need a sender")
        if (self.smtp_user is None) != (self.smtp_password is None):
            raise ValueError("MILEPOST_SMTP_USER and MILEPOST_SMTP_PASSWORD go together: set both or neither")
        password = self.smtp_password.get_secret_value() if self.smtp_password is not None else ""
        if not f"{self.smtp_user or ''}{password}".isascii():
            raise ValueError("MILEPOST_SMTP_USER and MILEPOST_SMTP_PASSWORD must be ASCII")
        if self.smtp_password is not None and self.smtp_tls == "none":
            raise ValueError("MILEPOST_SMTP_TLS=none would send the password in the clear")
        return self

    @property
    def webhook_networks(self) -> Networks:
        return _networks(self.webhook_allowed_networks)

    @property
    def smtp_port_used(self) -> int:
        return self.smtp_port or SMTP_PORTS[self.smtp_tls]
