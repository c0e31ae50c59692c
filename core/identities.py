"""Names and secrets of everyone who talks to the broker: made by us, derived, never stored."""

import base64
import hashlib
import hmac
import re
import secrets
import zlib

SHARDS = tuple("0123456789abcdef")
API_SLOTS = (
    32  # one broker user an api process: a second connection of one user would take the first one over
)
DEVICE_ID = re.compile(r"[a-z0-9]{10}", re.ASCII)
SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,62}", re.ASCII)
RELAY_USER = "relay"
PROVISIONER_USER = "provisioner"
STATUS_USER = "status"  # `milepost status`, which proves that the broker lets a user in
_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"


def new_device_id() -> str:
    """Ten random characters of ``[a-z0-9]``: global, guess-proof, legal in a topic."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(10))


def is_slug(text: str) -> bool:
    return SLUG.fullmatch(text) is not None


def shard_of(device_id: str) -> str:
    """The hex digit of the ingest session that receives this device: ``crc32(device) % 16``."""
    return SHARDS[zlib.crc32(device_id.encode()) % len(SHARDS)]


def ingest_user(shard: str) -> str:
    return f"ingest-{shard}"


def api_user(slot: int) -> str:
    return f"api-{slot}"


def operator_user(user_id: int) -> str:
    """A person's own MQTT login; never the person's password."""
    return f"operator-{user_id}"


def mqtt_secret(key: str, user_name: str, version: int = 1) -> str:
    """The MQTT password of ``user_name``: ``HMAC-SHA256(key, name, version)``; rotating is version + 1."""
    digest = hmac.new(key.encode(), f"{user_name}\n{version}".encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
