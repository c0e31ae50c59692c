"""User names and secrets of all broker clients. Secrets are derived from a key, never stored."""

import base64
import hashlib
import hmac
import re
import secrets
import zlib

SHARDS = tuple("0123456789abcdef")
API_SLOTS = (
    32  # one broker user per API process: a second connection of the same user would take over the first
)
DEVICE_ID = re.compile(r"[a-z0-9]{10}", re.ASCII)
SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,62}", re.ASCII)
RELAY_USER = "relay"
PROVISIONER_USER = "provisioner"
STATUS_USER = "status"  # of `milepost status`, which checks that the broker accepts a login
_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"


def new_device_id() -> str:
    """Return ten random characters of ``[a-z0-9]``: globally unique, unguessable, and legal in a topic."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(10))


def is_slug(text: str) -> bool:
    return SLUG.fullmatch(text) is not None


def shard_of(device_id: str) -> str:
    """Return the hex digit of the ingest shard that receives this device: ``crc32(device) % 16``."""
    return SHARDS[zlib.crc32(device_id.encode()) % len(SHARDS)]


def ingest_user(shard: str) -> str:
    return f"ingest-{shard}"


def api_user(slot: int) -> str:
    return f"api-{slot}"


def operator_user(user_id: int) -> str:
    """Return the name of a user's MQTT login, whose secret is not the user's password."""
    return f"operator-{user_id}"


def mqtt_secret(key: str, user_name: str, version: int = 1) -> str:
    """Return the MQTT password ``HMAC-SHA256(key, user_name, version)``; version + 1 rotates it."""
    digest = hmac.new(key.encode(), f"{user_name}\n{version}".encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
