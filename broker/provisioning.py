"""Access control of a running broker: makes its users and roles match the database.

Invariants: every command is derived from the database at that moment, never from a message, so any call may
come twice, late or out of order. Only differences are sent, since the plugin rewrites its file at each change
(which blocks the broker for 40 ms at 10,000 devices). A role is read back after a change, since the plugin
drops a misspelt entry silently.
Errors: `BrokerAway` when the broker is unreachable, `ControlError` when it refuses a command.
"""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from sqlalchemy.orm import Session

from broker import access
from broker.access import BrokerRole, User
from broker.control import Answer, Command, Control, ControlError
from broker.plugin_file import DEFAULT_ACCESS, role_document, roles_document, text_name
from core.identities import mqtt_secret, operator_user
from core.records.outbox import OutboxKind

log = logging.getLogger(__name__)

CHANGES_A_MESSAGE = 5  # the broker serves no other client while it works on one message
MANY_CHANGES = 500
KINDS = frozenset({OutboxKind.COMPANY, OutboxKind.DEVICE, OutboxKind.OPERATOR})


@dataclass
class Changes:
    """The number of changes that a reconciliation made."""

    roles: int = 0
    users: int = 0
    removed: int = 0


def apply(
    control: Control, session: Session, mqtt_key: str, kind: OutboxKind, payload: dict[str, Any]
) -> None:
    """Make the broker match the present state of the company, device or person that an outbox row names."""
    match kind:
        case OutboxKind.COMPANY:
            slug = access.company_slug(session, int(payload["id"]))
            if slug is not None:
                _ensure_role(control, access.company_role(slug))
        case OutboxKind.DEVICE:
            _ensure_device(control, session, mqtt_key, str(payload["id"]))
        case OutboxKind.OPERATOR:
            user_id = int(payload["id"])
            _ensure_user(control, mqtt_key, operator_user(user_id), access.person_user(session, user_id))
        case _:
            raise ValueError(f"{kind} is no change of access")


def reconcile(control: Control, session: Session, mqtt_key: str) -> Changes:
    """Make the whole broker match the database: create, correct and remove roles and users."""
    changes = Changes()
    if control.default_access() != DEFAULT_ACCESS:
        defaults = [{"acltype": acltype, "allow": allow} for acltype, allow in DEFAULT_ACCESS.items()]
        control.change({"command": "setDefaultACLAccess", "acls": defaults})
        changes.roles += 1
    differing, strange = _create_roles(control, session, changes)
    _reconcile_users(control, session, mqtt_key, changes)
    # Existing roles change only after the users: a user may still depend on a role's old entries for a right
    # that he is about to get by another role.
    for role in differing:
        _ensure_role(control, role)
    changes.roles += len(differing)
    _remove(control, "deleteRole", "rolename", strange, changes)
    log.info("access_reconciled roles=%d users=%d removed=%d", changes.roles, changes.users, changes.removed)
    return changes


def _create_roles(control: Control, session: Session, changes: Changes) -> tuple[list[BrokerRole], list[str]]:
    """Create the missing roles; return those that differ, and the names of those to be removed."""
    present = {role.name: role for role in control.all_roles()}
    differing, missing = [], []
    for role in access.roles(session):
        found = present.pop(role.name, None)
        if found is None:
            missing.append(role)
        elif found != role:
            differing.append(role)
    for batch in _batches({"command": "createRole", **role_document(role)} for role in missing):
        control.change(*batch)
        changes.roles += len(batch)
        if changes.roles % MANY_CHANGES == 0:
            log.info("access_reconciling roles=%d", changes.roles)
    _require_as_told(control, missing)
    return differing, list(present)


def _require_as_told(control: Control, roles: list[BrokerRole]) -> None:
    """Read created roles back. Raises `ControlError` if one differs."""
    present = {role.name: role for role in control.all_roles()} if roles else {}
    for role in roles:
        if present.get(role.name) != role:
            raise ControlError(f"role {role.name} is not what the broker was told")


def _reconcile_users(control: Control, session: Session, mqtt_key: str, changes: Changes) -> None:
    present = {user["username"]: user for user in control.all_users()}
    wanted = ((user, present.pop(user.name, None)) for user in access.users(session))
    commands = (command for user, found in wanted for command in user_commands(mqtt_key, user, found))
    for batch in _batches(commands):
        control.change(*batch)
        changes.users += len(batch)
        if changes.users % MANY_CHANGES == 0:
            log.info("access_reconciling users=%d", changes.users)
    _remove(control, "deleteClient", "username", present, changes)


def _remove(control: Control, command: str, key: str, names: Iterable[str], changes: Changes) -> None:
    for batch in _batches({"command": command, key: name} for name in names):
        log.warning("access_removed names=%s", ",".join(document[key] for document in batch))
        control.change(*batch)
        changes.removed += len(batch)


def _ensure_role(control: Control, role: BrokerRole) -> None:
    present = control.role(role.name)
    if present == role:
        return
    command = "createRole" if present is None else "modifyRole"
    control.change({"command": command, **role_document(role)})
    if control.role(role.name) != role:
        raise ControlError(f"role {role.name} is not what the broker was told")


def _ensure_device(control: Control, session: Session, mqtt_key: str, device_id: str) -> None:
    user = access.device_user(session, device_id)
    if user is not None:
        _ensure_role(control, access.device_own_role(device_id))
    _ensure_user(control, mqtt_key, device_id, user)
    if user is None:
        control.change({"command": "deleteRole", "rolename": access.device_own_role_name(device_id)})


def _ensure_user(control: Control, mqtt_key: str, name: str, user: User | None) -> None:
    present = control.user(name)
    if user is not None:
        commands = user_commands(mqtt_key, user, present)
    else:
        commands = [{"command": "deleteClient", "username": name}] if present else []
    if commands:
        control.change(*commands)


def user_commands(mqtt_key: str, user: User, present: Answer | None) -> list[Command]:
    """Return the commands that turn ``present`` (as the plugin lists it) into ``user``, if any."""
    commands = []
    identity = {"username": user.name}
    secret = {"password": mqtt_secret(mqtt_key, user.name, user.version), "textname": text_name(user.version)}
    roles = {"roles": roles_document(user)}
    if present is None:
        commands.append({"command": "createClient", **identity, **secret, **roles})
    else:
        changes: Command = {}
        if present.get("textname") != text_name(user.version):
            changes |= secret
        if present.get("roles") != roles["roles"]:
            changes |= roles
        if changes:
            commands.append({"command": "modifyClient", **identity, **changes})
    is_disabled = present is not None and present.get("disabled", False)
    if user.disabled != is_disabled:
        commands.append({"command": "disableClient" if user.disabled else "enableClient", **identity})
    return commands


def _batches(commands: Iterable[Command]) -> Iterator[list[Command]]:
    rest = iter(commands)
    while batch := list(islice(rest, CHANGES_A_MESSAGE)):
        yield batch
