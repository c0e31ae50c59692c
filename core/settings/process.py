"""The settings of Milepost's processes."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr, ValidationInfo, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from core.settings.checks import (
    names_origins,
    require_broker_url,
    require_certificates,
    require_database_url,
    require_real_secret,
    split_origins,
)
from core.settings.outgoing import OutgoingSettings

ENV_FILE = ".env"


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
    cors_origins: Annotated[str, AfterValidator(names_origins)] = Field(
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
        require_database_url(chosen)
        return SecretStr(chosen)

    @property
    def broker_url(self) -> str:
        """Return the broker's address as devices and users reach it."""
        return self.public_mqtt_url or self.mqtt_url

    @property
    def allowed_origins(self) -> tuple[str, ...]:
        """Return the origins whose pages may read the API."""
        return split_origins(self.cors_origins)

    @field_validator("mqtt_url", "public_mqtt_url")
    @classmethod
    def _names_a_broker(cls, url: str | None) -> str | None:
        if url is None:
            return None
        require_broker_url(url)
        return url

    @field_validator("mqtt_ca_file")
    @classmethod
    def _holds_certificates(cls, path: Path | None, info: ValidationInfo) -> Path | None:
        """Check that the file contains certificates, if it is used."""
        # Without mqtts:// it is not used, and a .env for containers may name a file that exists only in them.
        if path is None or not info.data.get("mqtt_url", "mqtts:").startswith("mqtts:"):
            return path
        require_certificates(path)
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
