"""Request and response with Mosquitto's dynamic-security plugin, over ``$CONTROL``."""

import json
from collections.abc import Iterator
from itertools import count
from types import TracebackType
from typing import Any, Self

from broker.access_control.roles import CONTROL, CONTROL_RESPONSE, Acl, BrokerRole
from broker.connection import BrokerLogin
from broker.link import BrokerAway, BrokerLink

Command = dict[str, Any]
Answer = dict[str, Any]
PAGE = 500
ALREADY_SO = {
    "createClient": "Client already exists",
    "createRole": "Role already exists",
    "deleteClient": "Client not found",
    "deleteRole": "Role not found",
}


class ControlError(Exception):
    """The plugin refused a command, or did not apply it."""


class Control:
    """A connection as the ``provisioner`` user: a context manager. Raises `BrokerAway` and `ControlError`."""

    def __init__(self, to: BrokerLogin) -> None:
        self._link = BrokerLink(to)
        self._numbers = count(1)

    def __enter__(self) -> Self:
        self._link.__enter__()
        try:
            self._link.subscribe(CONTROL_RESPONSE)
        except BrokerAway:
            self._link.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._link.close()

    def send(self, *commands: Command) -> list[Answer]:
        """Send commands in one message; return one answer per command, refusals (``"error"``) included."""
        number = str(next(self._numbers))
        request = {"commands": [{**command, "correlationData": number} for command in commands]}
        sent = self._link.publish(CONTROL, json.dumps(request).encode(), retain=False)
        if self._link.wait_for_answers([sent])[0].is_failure:
            raise ControlError("the broker does not let the provisioner user change access control")
        while True:
            answers: list[Answer] = json.loads(self._link.receive())["responses"]
            # The answer to an earlier request that timed out may still arrive.
            if answers and answers[0].get("correlationData") == number:
                return answers

    def change(self, *commands: Command) -> None:
        """Send commands; raise `ControlError` on a refusal, unless the state is already as commanded."""
        for answer in self.send(*commands):
            command, error = answer["command"], answer.get("error")
            if error and error != ALREADY_SO.get(command):
                raise ControlError(f"{command}: {error}")

    def role(self, name: str) -> BrokerRole | None:
        answer = self.send({"command": "getRole", "rolename": name})[0]
        return _read_role(answer["data"]["role"]) if "data" in answer else None

    def user(self, name: str) -> Answer | None:
        answer = self.send({"command": "getClient", "username": name})[0]
        found: Answer | None = answer["data"]["client"] if "data" in answer else None
        return found

    def all_roles(self) -> Iterator[BrokerRole]:
        return map(_read_role, self._pages("listRoles", "roles"))

    def all_users(self) -> Iterator[Answer]:
        return self._pages("listClients", "clients")

    def _pages(self, command: str, key: str) -> Iterator[Answer]:
        offset = 0
        while True:
            request = {"command": command, "verbose": True, "count": PAGE, "offset": offset}
            answer = self.send(request)[0]
            if "data" not in answer:
                raise ControlError(f"{command}: {answer.get('error')}")
            page = answer["data"][key]
            yield from page
            offset += len(page)
            if not page or offset >= answer["data"]["totalCount"]:
                return

    def save(self) -> None:
        """Make the broker write its plugin file from memory, by a change without effect."""
        defaults = [{"acltype": kind, "allow": allow} for kind, allow in self.default_access().items()]
        self.change({"command": "setDefaultACLAccess", "acls": defaults})

    def default_access(self) -> dict[str, bool]:
        answer = self.send({"command": "getDefaultACLAccess"})[0]
        return {default["acltype"]: default["allow"] for default in answer["data"]["acls"]}


def _read_role(document: Answer) -> BrokerRole:
    acls = (
        Acl(acl["acltype"], acl["topic"], acl["allow"], acl.get("priority", 0)) for acl in document["acls"]
    )
    return BrokerRole(document["rolename"], frozenset(acls))
