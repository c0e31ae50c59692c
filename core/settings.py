"""All settings: ``MILEPOST_*`` variables and a ``.env`` file, read once at the start of a process."""

import errno
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from core.outgoing_settings import OutgoingSettings

MINIMUM_SECRET_LENGTH = 32
SAMPLE_MARKS = ("change-me", "changeme", "example", "replace")
ENV_FILE = ".env"
_Kind = TypeVar("_Kind", bound=BaseSettings)


def _names_origins(text: str) -> str:
    """Check a list of origins as browsers send them. Raises `ValueError`."""
    for origin in _split_origins(text):
        if not _is_origin(origin):
            raise ValueError(
                "must be origins such as https://app.example.com, separated by commas: without a path, a user"
                f" or a default port, names in ASCII (not {origin})"
            )
    return text


def _is_origin(text: str) -> bool:
    parts = urlsplit(text)
    default_port = {"http": ":80", "https": ":443"}.get(parts.scheme)
    return (
        default_port is not None
        and bool(parts.hostname)
        and text == f"{parts.scheme}://{parts.netloc}"
        and "@" not in text
        and not text.endswith(default_port)
        and text.isascii()
        and _has_usable_port(text)
    )


def _split_origins(text: str) -> tuple[str, ...]:
    # Browsers send scheme and host in lower case, and compare them letter by letter.
    return tuple(part.strip().lower() for part in text.split(",") if part.strip())


class SettingsError(Exception):
    """The settings cannot be used; the message lists all problems, one per line."""


class Settings(OutgoingSettings):
    """One frozen object per process. Secrets are ``SecretStr``, so that printing it shows none."""

    model_config = SettingsConfigDict(
        env_prefix="MILEPOST_", env_file=ENV_FILE, env_ignore_empty=True, extra="ignore", frozen=True
    )

    database_url: SecretStr = Field(
        description="PostgreSQL 15 or newer, direct or through a session pooler:"
        " postgresql://user:password@host/name"
    )
    mqtt_url: str = Field(
        description="Mosquitto 2, as our processes reach it: mqtt://host:port or mqtts://host:port,"
        " without a user"
    )
    public_mqtt_url: str | None = Field(
        default=None,
        description="The broker as devices and people reach it; unset: MILEPOST_MQTT_URL",
    )
    mqtt_ca_file: Path | None = Field(default=None, description="CA bundle for mqtts://; unset: the system's")
    mqtt_key: SecretStr = Field(
        description="Key from which every MQTT password is derived, 32 characters or more. A new key"
        " means new passwords for all: write the broker's users again (milepost broker write) while"
        " the broker is stopped"
    )
    jwt_key: SecretStr = Field(
        description="Key that signs access and refresh tokens, 32 characters or more. A new key logs"
        " everyone out"
    )
    http_host: str = Field(default="127.0.0.1", description="Address on which the API listens")
    http_port: int = Field(default=8000, ge=1, le=65535, description="Port on which the API listens")
    cors_origins: Annotated[str, AfterValidator(_names_origins)] = Field(
        default="",
        description="Origins whose pages may read the API (CORS), separated by commas; unset: none",
    )
    api_processes: int = Field(default=1, ge=1, le=16, description="Worker processes of one milepost api")
    fast_path: bool = Field(
        default=True,
        description="off: FastAPI answers the busiest routes' plain requests too, at three times the cost",
    )
    ingest_metrics_port: int | None = Field(
        default=None, ge=1, le=65535, description="Port of ingest's Prometheus metrics; unset: none"
    )
    jobs_metrics_port: int | None = Field(
        default=None, ge=1, le=65535, description="Port of the jobs process's Prometheus metrics; unset: none"
    )
    metrics_host: str = Field(
        default="127.0.0.1", description="Address on which ingest and jobs serve their metrics"
    )
    metrics_token: SecretStr | None = Field(
        default=None,
        description="Bearer token with which clients outside loopback read /status/ and all metrics;"
        " unset: none may",
    )
    disk_folder: Path | None = Field(
        default=None,
        description="Folder on the disk of PostgreSQL's data, if the process can see it: /status/ shows"
        " its free space",
    )
    access_token_minutes: int = Field(
        default=30, ge=1, le=24 * 60, description="Lifetime of access tokens, in minutes"
    )
    refresh_token_days: int = Field(
        default=30, ge=1, le=365, description="Lifetime of refresh tokens, in days"
    )
    login_failures_per_address: int = Field(
        default=100,
        ge=0,
        description="Failed log-ins per network address in 15 minutes. 0: no limit; set it behind a"
        " proxy, whose address all clients share, and let the proxy limit",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="Least severe level that is logged"
    )
    log_format: Literal["text", "json"] = Field(default="text", description="Form of a log line")
    shutdown_timeout_s: float = Field(
        default=8.0,
        gt=0,
        le=60,
        description="Seconds in which a process finishes its work when it is stopped",
    )

    @field_validator("database_url")
    @classmethod
    def _uses_psycopg2(cls, url: SecretStr) -> SecretStr:
        """Return the URL with the driver psycopg2."""
        # SQLAlchemy 2.1 uses psycopg 3 for a URL that begins with ``postgresql://``.
        scheme, separator, rest = url.get_secret_value().partition("://")
        if scheme not in {"postgresql", "postgres", "postgresql+psycopg2"} or not separator:
            raise ValueError("must start with postgresql://")
        chosen = f"postgresql+psycopg2://{rest}"
        _require_database_url(chosen)
        return SecretStr(chosen)

    @property
    def broker_url(self) -> str:
        """Return the broker's address as devices and users reach it."""
        return self.public_mqtt_url or self.mqtt_url

    @property
    def allowed_origins(self) -> tuple[str, ...]:
        """Return the origins whose pages may read the API."""
        return _split_origins(self.cors_origins)

    @field_validator("mqtt_url", "public_mqtt_url")
    @classmethod
    def _names_a_broker(cls, url: str | None) -> str | None:
        if url is None:
            return None
        parts = urlsplit(url)
        if parts.scheme not in {"mqtt", "mqtts"} or not parts.hostname or not _has_usable_port(url):
            raise ValueError("must look like mqtt://host:1883 or mqtts://host:8883")
        if parts.username or parts.password:
            raise ValueError(
                "must carry no user or password: each process derives its own from MILEPOST_MQTT_KEY"
            )
        if parts.path.strip("/") or parts.query or parts.fragment:
            raise ValueError("must end with the host and its port")
        return url

    @field_validator("mqtt_ca_file")
    @classmethod
    def _holds_certificates(cls, path: Path | None, info: ValidationInfo) -> Path | None:
        """Check that the file contains certificates, if it is used."""
        # Without mqtts:// it is not used, and a .env for containers may name a file that exists only in them.
        if path is None or not info.data.get("mqtt_url", "mqtts:").startswith("mqtts:"):
            return path
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=path)
        except ssl.SSLError:
            raise ValueError(f"names {path}, which holds no certificates (PEM)") from None
        except OSError as error:
            raise ValueError(f"names {path}, which cannot be read: {error.strerror}") from None
        return path

    @field_validator("mqtt_key", "jwt_key")
    @classmethod
    def _is_a_real_secret(cls, secret: SecretStr) -> SecretStr:
        require_real_secret(secret.get_secret_value())
        return secret

    @model_validator(mode="after")
    def _keys_differ(self) -> "Settings":
        if self.mqtt_key.get_secret_value() == self.jwt_key.get_secret_value():
            raise ValueError("MILEPOST_MQTT_KEY and MILEPOST_JWT_KEY must differ")
        return self


def load() -> Settings:
    """Read the settings. Raises `SettingsError`, which names all wrong variables together."""
    return read(Settings, {})


def read(kind: type[_Kind], overrides: Mapping[str, Any]) -> _Kind:
    """Read settings of any kind; ``overrides`` by field win over the environment. Raises `SettingsError`."""
    try:
        return kind(**overrides)
    except ValidationError as error:
        raise SettingsError(all_problems(error)) from None
    except UnicodeDecodeError:
        raise SettingsError(f"{ENV_FILE} in this folder cannot be used: it is not text in UTF-8") from None
    except OSError as error:
        raise SettingsError(f"{error.filename or ENV_FILE} cannot be read: {error.strerror}") from None


def port_taken(field: str, port: int, error: OSError) -> SettingsError:
    """Return the error for a port, of the setting ``field``, on which the process cannot listen."""
    name = f"MILEPOST_{field.upper()}"
    if error.errno != errno.EADDRINUSE:
        return SettingsError(f"{name}={port} cannot be listened on: {error.strerror}. Choose another port.")
    return SettingsError(
        f"{name}={port} is taken by another program. Choose another port, or leave {name} unset."
    )


def all_problems(error: ValidationError) -> str:
    lines = []
    for problem in error.errors(include_input=False, include_url=False):
        name = "MILEPOST_" + "_".join(str(part) for part in problem["loc"]).upper() if problem["loc"] else ""
        text = "is not set" if problem["type"] == "missing" else problem["msg"].removeprefix("Value error, ")
        lines.append(f"  {name} {text}".rstrip() if name else f"  {text}")
    return "The settings cannot be used (see .env.example):\n" + "\n".join(lines)


def require_real_secret(value: str) -> None:
    """Check that a secret is not guessable. Raises `ValueError`."""
    if len(value) < MINIMUM_SECRET_LENGTH:
        raise ValueError(f"is too short: {MINIMUM_SECRET_LENGTH} characters at least (openssl rand -hex 32)")
    if any(mark in value.lower() for mark in SAMPLE_MARKS) or len(set(value)) < 8:
        raise ValueError("is a sample, not a secret (make one with: openssl rand -hex 32)")


def _require_database_url(url: str) -> None:
    """Check that libpq accepts the URL. Raises `ValueError`, whose text never contains the password."""
    # Imported here, so that `milepost --help`, which needs no URL, does not load them.
    import psycopg2  # noqa: PLC0415
    from sqlalchemy import make_url  # noqa: PLC0415
    from sqlalchemy.exc import ArgumentError  # noqa: PLC0415

    try:
        parsed = make_url(url)
        if parsed.port is not None and not 0 < parsed.port < 65536:
            raise ValueError
        _, options = parsed.get_dialect()().create_connect_args(parsed)
        psycopg2.extensions.make_dsn(**options)
    except (ArgumentError, ValueError, TypeError):
        raise ValueError(
            "must look like postgresql://user:password@host:5432/name (with %-escapes in the password)"
        ) from None
    except psycopg2.ProgrammingError as error:
        raise ValueError(f"cannot be used: {' '.join(str(error).split())}") from None


def _has_usable_port(url: str) -> bool:
    try:
        return urlsplit(url).port != 0
    except ValueError:
        return False
