"""The file of Mosquitto's dynamic-security plugin, written whole from the database.

For a broker that does not run yet. A running broker has already read it and rewrites it on every change:
there `provisioning` does the same over ``$CONTROL``. Mosquitto 2.0 does not notice a failed write: on a full
disk it leaves a truncated file, and its next start would refuse every user. So `damage` checks the file
before each start of the broker.
"""

import base64
import hashlib
import json
import logging
import os
import secrets
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

import msgspec
from sqlalchemy.orm import Session

from broker.access_control import roles
from core.identities import DEVICE_ID, mqtt_secret

log = logging.getLogger(__name__)

# The secret is 256 random bits and the broker has one thread to hash: no more rounds than the plugin's own.
ITERATIONS = 101
SALT_BYTES = 12
KEY_BYTES = 64
DEFAULT_ACCESS = {
    "publishClientSend": False,
    "publishClientReceive": False,
    "subscribe": False,
    "unsubscribe": True,
}


class _RoleName(msgspec.Struct, gc=False):
    rolename: str


class _UserInFile(msgspec.Struct, gc=False):
    username: str
    password: str
    salt: str
    iterations: int
    roles: list[_RoleName]


class _PluginState(msgspec.Struct):
    """The parts of the plugin's file without which its users cannot log in."""

    roles: list[_RoleName]
    clients: list[_UserInFile]


def damage(path: Path) -> str | None:
    """Return why a broker cannot start with the file, or ``None`` if it is whole. Raises `OSError`.

    Users that are merely missing or outdated are no damage: the jobs process corrects them.
    """
    try:
        state = msgspec.json.decode(path.read_bytes(), type=_PluginState)
    except FileNotFoundError:
        return "it is missing"
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return f"it cannot be read: {error}"
    present = {role.rolename for role in state.roles}
    if missing := {role.name for role in roles.SERVICE_ROLES} - present:
        return f"it lacks the role {min(missing)}"
    if missing := {user.name for user in roles.SERVICE_USERS} - {user.username for user in state.clients}:
        return f"it lacks the user {min(missing)}"
    for user in state.clients:
        theirs = {role.rolename for role in user.roles}
        if missing := theirs - present:
            return f"it lacks the role {min(missing)} of {user.username}"
        if DEVICE_ID.fullmatch(user.username) and roles.device_own_role_name(user.username) not in theirs:
            return f"it is an older Milepost's: {user.username} has no role of its own"
    return None


def write(path: Path, session: Session, mqtt_key: str) -> None:
    """Replace ``path`` atomically, readable by its owner only; 10,000 devices take about half a second.

    As root, keep the present file's owner, or use the folder's: Mosquitto drops to its own user and must
    still read and rewrite the file. Raises `OSError`.
    """
    started = time.monotonic()
    # mkstemp creates it with mode 0600
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with open(handle, "w", encoding="utf-8") as file:
            count = _write_state(file, session, mqtt_key)
            file.flush()
            os.fsync(handle)
        _take_over_owner(path, name)
        os.replace(name, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(name)
        raise
    log.info("plugin_file_written users=%d seconds=%.2f", count, time.monotonic() - started)


def text_name(version: int) -> str:
    """Return the user's ``textname`` with the secret's version: the plugin itself keeps only a hash."""
    return f"v{version}"


def role_document(role: roles.BrokerRole) -> dict[str, Any]:
    """Return a role in the format of the plugin's file and commands."""
    acls = [
        {"acltype": acl.acltype, "topic": acl.topic, "priority": acl.priority, "allow": acl.allow}
        for acl in sorted(role.acls)
    ]
    return {"rolename": role.name, "acls": acls}


def roles_document(user: roles.User) -> list[dict[str, Any]]:
    """Return a user's roles as the plugin's file, commands and answers list them; the first has priority."""
    first, *rest = ({"rolename": name} for name in user.roles)
    return [{**first, "priority": 1}, *rest] if rest else [first]


def _write_state(file: TextIO, session: Session, mqtt_key: str) -> int:
    """Write the plugin's JSON, one user at a time; return the number of users."""
    file.write(json.dumps({"defaultACLAccess": DEFAULT_ACCESS})[:-1])
    file.write(', "roles": [')
    _write_items(file, (role_document(role) for role in roles.wanted_roles(session)))
    file.write('], "clients": [')
    count = _write_items(file, (user_document(user, mqtt_key) for user in roles.wanted_users(session)))
    file.write("]}\n")
    return count


def _write_items(file: TextIO, documents: Iterator[dict[str, Any]]) -> int:
    count = 0
    for document in documents:
        file.write((",\n" if count else "\n") + json.dumps(document))
        count += 1
    return count


def user_document(user: roles.User, mqtt_key: str) -> dict[str, Any]:
    salt = secrets.token_bytes(SALT_BYTES)
    secret = mqtt_secret(mqtt_key, user.name, user.version).encode()
    password = hashlib.pbkdf2_hmac("sha512", secret, salt, ITERATIONS, KEY_BYTES)
    return {
        "username": user.name,
        "textname": text_name(user.version),
        "password": base64.b64encode(password).decode(),
        "salt": base64.b64encode(salt).decode(),
        "iterations": ITERATIONS,
        "disabled": user.disabled,
        "roles": roles_document(user),
    }


def _take_over_owner(path: Path, temporary: str) -> None:
    if os.geteuid() != 0:
        return
    owner = (path if path.exists() else path.parent).stat()
    os.chown(temporary, owner.st_uid, owner.st_gid)
