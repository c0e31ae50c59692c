"""Random bearer secrets: shown once, kept as SHA-256. 256 random bits need neither salt nor a slow hash."""

import hashlib
import secrets


def make(prefix: str) -> str:
    """A new secret that says what it is, so that scanners find one that leaked."""
    return prefix + secrets.token_urlsafe(32)


def digest(token: str) -> bytes:
    """What is stored and looked up. Anything a client may send has one."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
