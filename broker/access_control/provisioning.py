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

from broker.access_control import roles
from broker.access_control.control import Answer, Command, Control, ControlError
from broker.access_control.plugin_file import DEFAULT_ACCESS, role_document, roles_document, text_name
from broker.access_control.roles import BrokerRole, User
from core.accounts import broker_logins
from core.identities import mqtt_secret, operator_user
from core.records.outbox import OutboxKind

log = logging.getLogger(__name__)

CHANGES_PER_MESSAGE = 5  # the broker serves no other client while it works on one message
LOG_EVERY = 500  # changes
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
            slug = broker_logins.find_company_slug(session, int(payload["id"]))
            if slug is not None:
                _ensure_role(control, roles.company_role(slug))
        case OutboxKind.DEVICE:
            _ensure_device(control, session, mqtt_key, str(payload["id"]))
        case OutboxKind.OPERATOR:
            user_id = int(payload["id"])
            login = broker_logins.find_user_login(session, user_id)
            user = roles.person_user(login) if login else None
            _ensure_user(control, mqtt_key, operator_user(user_id), user)
        case _:
            raise ValueError(f"{kind} is no change of access")


def reconcile(control: Control, session: Session, mqtt_key: str) -> Changes:
    """Make the whole broker match the database: create, correct and remove roles and users."""
    changes = Changes()
    if control.default_access() != DEFAULT_ACCESS:
        defaults = [{"acltype": acltype, "allow": allow} for acltype, allow in DEFAULT_ACCESS.items()]
        control.change({"command": "setDefaultACLAccess", "acls": defaults})
        changes.roles += 1
    differing, unknown = _create_roles(control, session, changes)
    _reconcile_users(control, session, mqtt_key, changes)
    # Existing roles change only after the users: a user may still depend on a role's old entries for a right
    # that he is about to get by another role.
    for role in differing:
        _ensure_role(control, role)
    changes.roles += len(differing)
    _remove(control, "deleteRole", "rolename", unknown, changes)
    log.info("access_reconciled roles=%d users=%d removed=%d", changes.roles, changes.users, changes.removed)
    return changes


def _create_roles(control: Control, session: Session, changes: Changes) -> tuple[list[BrokerRole], list[str]]:
    """Create the missing roles; return those that differ, and the names of those to be removed."""
    present = {role.name: role for role in control.all_roles()}
    differing, missing = [], []
    for role in roles.wanted_roles(session):
        found = present.pop(role.name, None)
        if found is None:
            missing.append(role)
        elif found != role:
            differing.append(role)
    for batch in _batches({"command": "createRole", **role_document(role)} for role in missing):
        control.change(*batch)
        changes.roles += len(batch)
        if changes.roles % LOG_EVERY == 0:
            log.info("access_reconciling roles=%d", changes.roles)
    _require_created(control, missing)
    return differing, list(present)


def _require_created(control: Control, created: list[BrokerRole]) -> None:
    """Read created roles back. Raises `ControlError` if one differs."""
    present = {role.name: role for role in control.all_roles()} if created else {}
    for role in created:
        _require_equal(present.get(role.name), role)


def _require_equal(present: BrokerRole | None, wanted: BrokerRole) -> None:
    if present != wanted:
        raise ControlError(f"the broker holds role {wanted.name} with other entries than it was sent")


def _reconcile_users(control: Control, session: Session, mqtt_key: str, changes: Changes) -> None:
    present = {user["username"]: user for user in control.all_users()}
    wanted = ((user, present.pop(user.name, None)) for user in roles.wanted_users(session))
    commands = (command for user, found in wanted for command in user_commands(mqtt_key, user, found))
    for batch in _batches(commands):
        control.change(*batch)
        changes.users += len(batch)
        if changes.users % LOG_EVERY == 0:
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
    _require_equal(control.role(role.name), role)


def _ensure_device(control: Control, session: Session, mqtt_key: str, device_id: str) -> None:
    login = broker_logins.find_device_login(session, device_id)
    if login is not None:
        _ensure_role(control, roles.device_own_role(device_id))
    _ensure_user(control, mqtt_key, device_id, roles.device_user(login) if login else None)
    if login is None:
        control.change({"command": "deleteRole", "rolename": roles.device_own_role_name(device_id)})


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
    theirs = {"roles": roles_document(user)}
    if present is None:
        commands.append({"command": "createClient", **identity, **secret, **theirs})
    else:
        changes: Command = {}
        if present.get("textname") != text_name(user.version):
            changes |= secret
        if present.get("roles") != theirs["roles"]:
            changes |= theirs
        if changes:
            commands.append({"command": "modifyClient", **identity, **changes})
    is_disabled = present is not None and present.get("disabled", False)
    if user.disabled != is_disabled:
        commands.append({"command": "disableClient" if user.disabled else "enableClient", **identity})
    return commands


def _batches(commands: Iterable[Command]) -> Iterator[list[Command]]:
    rest = iter(commands)
    while batch := list(islice(rest, CHANGES_PER_MESSAGE)):
        yield batch
