"""Everything configurable: ``MILEPOST_*`` variables and a ``.env`` file, read once when a process starts."""

from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

MINIMUM_SECRET_LENGTH = 32
SAMPLE_MARKS = ("change-me", "changeme", "example", "replace")


class SettingsError(Exception):
    """The settings cannot be used; the message lists every problem, one a line."""


class Settings(BaseSettings):
    """One frozen object a process. Secrets are ``SecretStr``, so that printing it shows none."""

    model_config = SettingsConfigDict(
        env_prefix="MILEPOST_", env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True
    )

    database_url: SecretStr = Field(
        description="PostgreSQL 15 or newer: postgresql://user:password@host/name"
    )
    mqtt_url: str = Field(description="mqtt://host:port or mqtts://host:port, without a user")
    mqtt_ca_file: Path | None = Field(default=None, description="CA bundle for mqtts://; unset: the system's")
    mqtt_key: SecretStr = Field(description="Key from which every MQTT secret is derived")
    jwt_key: SecretStr = Field(description="Key that signs access and refresh tokens")
    http_host: str = "127.0.0.1"
    http_port: int = Field(default=8000, ge=1, le=65535)
    api_processes: int = Field(default=1, ge=1, le=16)
    ingest_metrics_port: int | None = Field(default=None, ge=1, le=65535)
    jobs_metrics_port: int | None = Field(default=None, ge=1, le=65535)
    metrics_token: SecretStr | None = None
    access_token_minutes: int = Field(default=30, ge=1, le=24 * 60)
    refresh_token_days: int = Field(default=30, ge=1, le=365)
    login_failures_per_address: int = Field(
        default=100, ge=0, description="Failed log-ins of one address in 15 minutes; 0: no limit"
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["text", "json"] = "text"
    shutdown_timeout_s: float = Field(default=8.0, gt=0, le=60)

    @field_validator("database_url")
    @classmethod
    def _uses_psycopg2(cls, url: SecretStr) -> SecretStr:
        """A bare ``postgresql://`` means psycopg 3 in SQLAlchemy 2.1; we run on psycopg2."""
        scheme, separator, rest = url.get_secret_value().partition("://")
        if scheme not in {"postgresql", "postgres", "postgresql+psycopg2"} or not separator:
            raise ValueError("must start with postgresql://")
        return SecretStr(f"postgresql+psycopg2://{rest}")

    @field_validator("mqtt_url")
    @classmethod
    def _names_a_broker(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in {"mqtt", "mqtts"} or not parts.hostname:
            raise ValueError("must look like mqtt://host:1883 or mqtts://host:8883")
        if parts.username or parts.password:
            raise ValueError(
                "must carry no user or password: each process derives its own from MILEPOST_MQTT_KEY"
            )
        return url

    @field_validator("mqtt_key", "jwt_key")
    @classmethod
    def _is_a_real_secret(cls, secret: SecretStr) -> SecretStr:
        value = secret.get_secret_value()
        if len(value) < MINIMUM_SECRET_LENGTH:
            raise ValueError(
                f"is too short: {MINIMUM_SECRET_LENGTH} characters at least (openssl rand -hex 32)"
            )
        if any(mark in value.lower() for mark in SAMPLE_MARKS) or len(set(value)) < 8:
            raise ValueError("is a sample, not a secret (make one with: openssl rand -hex 32)")
        return secret

    @model_validator(mode="after")
    def _keys_differ(self) -> "Settings":
        if self.mqtt_key.get_secret_value() == self.jwt_key.get_secret_value():
            raise ValueError("MILEPOST_MQTT_KEY and MILEPOST_JWT_KEY must differ")
        return self


def load() -> Settings:
    """Read the settings. Raises `SettingsError` that names every wrong variable at once."""
    try:
        return Settings()
    except ValidationError as error:
        raise SettingsError(all_problems(error)) from None


def all_problems(error: ValidationError) -> str:
    lines = []
    for problem in error.errors(include_input=False, include_url=False):
        name = "MILEPOST_" + "_".join(str(part) for part in problem["loc"]).upper() if problem["loc"] else ""
        text = "is not set" if problem["type"] == "missing" else problem["msg"].removeprefix("Value error, ")
        lines.append(f"  {name} {text}".rstrip() if name else f"  {text}")
    return "The settings cannot be used (see .env.example):\n" + "\n".join(lines)
