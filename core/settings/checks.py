"""What a setting's value must look like. Every check raises `ValueError`, whose text says what to do."""

import ssl
from pathlib import Path
from urllib.parse import urlsplit

MINIMUM_SECRET_LENGTH = 32
SAMPLE_MARKS = ("change-me", "changeme", "example", "replace")


def names_origins(text: str) -> str:
    """Check a list of origins as browsers send them. Raises `ValueError`."""
    for origin in split_origins(text):
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
        and has_usable_port(text)
    )


def split_origins(text: str) -> tuple[str, ...]:
    # Browsers send scheme and host in lower case, and compare them letter by letter.
    return tuple(part.strip().lower() for part in text.split(",") if part.strip())


def require_broker_url(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in {"mqtt", "mqtts"} or not parts.hostname or not has_usable_port(url):
        raise ValueError("must look like mqtt://host:1883 or mqtts://host:8883")
    if parts.username or parts.password:
        raise ValueError(
            "must carry no user or password: each process derives its own from MILEPOST_MQTT_KEY"
        )
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError("must end with the host and its port")


def require_certificates(path: Path) -> None:
    """Check that the file contains certificates."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=path)
    except ssl.SSLError:
        raise ValueError(f"names {path}, which holds no certificates (PEM)") from None
    except OSError as error:
        raise ValueError(f"names {path}, which cannot be read: {error.strerror}") from None


def require_real_secret(value: str) -> None:
    """Check that a secret is not guessable. Raises `ValueError`."""
    if len(value) < MINIMUM_SECRET_LENGTH:
        raise ValueError(f"is too short: {MINIMUM_SECRET_LENGTH} characters at least (openssl rand -hex 32)")
    if any(mark in value.lower() for mark in SAMPLE_MARKS) or len(set(value)) < 8:
        raise ValueError("is a sample, not a secret (make one with: openssl rand -hex 32)")


def require_database_url(url: str) -> None:
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


def has_usable_port(url: str) -> bool:
    try:
        return urlsplit(url).port != 0
    except ValueError:
        return False
