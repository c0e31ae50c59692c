"""Changes of access on a running broker: made over ``$CONTROL``, checked by connecting."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import delete
from sqlalchemy.orm import Session

from broker.access_control import plugin_file, provisioning, roles
from broker.access_control.control import Control, ControlError
from broker.access_control.provisioning import Changes
from broker.connection import login
from core.identities import PROVISIONER_USER, SHARDS, operator_user, shard_of
from core.models.fleet import Device
from core.models.people import AppUser
from core.records.outbox import OutboxKind
from core.rules.enums import Role
from core.settings import Settings
from tests.support import factories
from tests.support.mqtt_client import ADMINISTRATIVE, NOT_AUTHORIZED, connected
from tests.support.services.mosquitto import Broker
from tests.support.waiting import wait_until


@pytest.fixture
def control(settings: Settings) -> Iterator[Control]:
    with Control(login(settings, PROVISIONER_USER)) as control:
        yield control


def apply(control: Control, session: Session, broker: Broker, kind: OutboxKind, subject: int | str) -> None:
    provisioning.apply(control, session, broker.mqtt_key, kind, {"id": subject})


def can_connect(broker: Broker, user: str, version: int = 1) -> bool:
    with connected(broker, user, version=version) as client:
        return client.connack is not None and not client.connack.is_failure


def test_a_new_device_may_connect_and_publish(control: Control, session: Session, broker: Broker) -> None:
    device = factories.device(session, factories.company(session))
    assert not can_connect(broker, device.id)
    apply(control, session, broker, OutboxKind.DEVICE, device.id)
    with connected(broker, device.id) as client:
        assert client.publish(f"up/{shard_of(device.id)}/{device.id}/location") < 0x80
        assert client.subscribe(f"down/{device.id}/reply") == 1
        assert client.subscribe("#") == NOT_AUTHORIZED


def test_a_new_company_gives_its_operator_its_own_facts(
    control: Control, session: Session, broker: Broker
) -> None:
    company = factories.company(session, slug="newcomer")
    operator = factories.user(session, company, Role.OPERATOR)
    apply(control, session, broker, OutboxKind.COMPANY, company.id)
    apply(control, session, broker, OutboxKind.OPERATOR, operator.id)
    with connected(broker, operator_user(operator.id)) as client:
        assert client.subscribe("fleet/newcomer/#") == 1
        assert client.subscribe("fleet/other/#") == NOT_AUTHORIZED


@pytest.mark.parametrize("kind", [OutboxKind.DEVICE, OutboxKind.OPERATOR])
def test_disabling_ends_the_live_connection_and_enabling_lets_in_again(
    control: Control, session: Session, broker: Broker, kind: OutboxKind
) -> None:
    company = factories.company(session)
    row: Device | AppUser
    if kind is OutboxKind.DEVICE:
        row = factories.device(session, company)
    else:
        row = factories.user(session, company, Role.OPERATOR)
    user = row.id if isinstance(row, Device) else operator_user(row.id)
    apply(control, session, broker, OutboxKind.COMPANY, company.id)
    apply(control, session, broker, kind, row.id)
    with connected(broker, user) as client:
        row.disabled_at = datetime.now(UTC)
        session.flush()
        apply(control, session, broker, kind, row.id)
        wait_until(lambda: client.disconnected, what=f"{user} is kicked")
        assert client.disconnected is not None
        assert client.disconnected.value == ADMINISTRATIVE
    assert not can_connect(broker, user)
    row.disabled_at = None
    session.flush()
    apply(control, session, broker, kind, row.id)
    assert can_connect(broker, user)


def test_a_rotated_secret_kicks_the_old_one_out(control: Control, session: Session, broker: Broker) -> None:
    device = factories.device(session, factories.company(session))
    apply(control, session, broker, OutboxKind.DEVICE, device.id)
    with connected(broker, device.id) as client:
        device.secret_version = 2
        session.flush()
        apply(control, session, broker, OutboxKind.DEVICE, device.id)
        wait_until(lambda: client.disconnected, what="the old secret's connection ends")
    assert not can_connect(broker, device.id, version=1)
    assert can_connect(broker, device.id, version=2)


def test_a_device_that_is_gone_takes_its_role_along(
    control: Control, session: Session, broker: Broker
) -> None:
    device = factories.device(session, factories.company(session))
    apply(control, session, broker, OutboxKind.DEVICE, device.id)
    role = roles.device_own_role(device.id)
    assert control.role(role.name) == role
    session.execute(delete(Device).where(Device.id == device.id))
    for _ in range(2):
        apply(control, session, broker, OutboxKind.DEVICE, device.id)
    assert control.role(role.name) is None
    assert not can_connect(broker, device.id)


def test_what_is_right_already_is_not_touched(control: Control, session: Session, broker: Broker) -> None:
    device = factories.device(session, factories.company(session))
    apply(control, session, broker, OutboxKind.DEVICE, device.id)
    with connected(broker, device.id) as client:
        for _ in range(2):
            apply(control, session, broker, OutboxKind.DEVICE, device.id)
        assert client.publish(f"up/{shard_of(device.id)}/{device.id}/location") < 0x80
    provisioning.reconcile(control, session, broker.mqtt_key)
    assert provisioning.reconcile(control, session, broker.mqtt_key) == Changes()


def test_a_person_without_mqtt_rights_loses_the_login(
    control: Control, session: Session, broker: Broker
) -> None:
    company = factories.company(session)
    person = factories.user(session, company, Role.OPERATOR)
    apply(control, session, broker, OutboxKind.COMPANY, company.id)
    apply(control, session, broker, OutboxKind.OPERATOR, person.id)
    person.role, person.customer_id = Role.CUSTOMER, factories.customer(session, company).id
    session.flush()
    apply(control, session, broker, OutboxKind.OPERATOR, person.id)
    assert not can_connect(broker, operator_user(person.id))


def test_the_plugins_file_needs_no_reconciling(control: Control, session: Session, broker: Broker) -> None:
    assert provisioning.reconcile(control, session, broker.mqtt_key) == Changes()


def test_reconciling_repairs_whatever_differs(control: Control, session: Session, broker: Broker) -> None:
    company = factories.company(session, slug="acme")
    missing, disabled, wrong_role, gone = (factories.device(session, company) for _ in range(4))
    provisioning.reconcile(control, session, broker.mqtt_key)
    control.change({"command": "deleteClient", "username": missing.id})
    control.change(
        {"command": "modifyClient", "username": wrong_role.id, "roles": [{"rolename": "provisioner"}]},
        {"command": "modifyRole", "rolename": "company-acme", "acls": []},
        {"command": "createRole", "rolename": "stranger", "acls": []},
        {"command": "createClient", "username": "stranger", "password": "x" * 20},
        {"command": "setDefaultACLAccess", "acls": [{"acltype": "subscribe", "allow": True}]},
    )
    disabled.disabled_at = datetime.now(UTC)
    session.execute(delete(Device).where(Device.id == gone.id))
    session.flush()

    changes = provisioning.reconcile(control, session, broker.mqtt_key)

    # The defaults and a role; a user made, one corrected, one disabled; two users and two roles removed.
    assert changes == Changes(roles=2, users=3, removed=4)
    assert can_connect(broker, missing.id)
    assert not can_connect(broker, disabled.id)
    assert not can_connect(broker, gone.id)
    assert control.role("stranger") is None
    with connected(broker, wrong_role.id) as client:
        assert client.publish("$CONTROL/dynamic-security/v1") == NOT_AUTHORIZED
    assert provisioning.reconcile(control, session, broker.mqtt_key) == Changes()


def test_a_running_broker_of_an_older_milepost_is_brought_up_to_date(
    session: Session, broker: Broker, settings: Settings
) -> None:
    devices = [factories.device(session, factories.company(session)) for _ in range(2)]
    session.commit()
    broker.write(session)
    broker.plugin_file.write_text(json.dumps(as_before_own_roles(json.loads(broker.plugin_file.read_text()))))
    assert "older Milepost" in str(plugin_file.damage(broker.plugin_file)), (
        "compose writes it anew at a start"
    )
    broker.restart()
    with connected(broker, devices[0].id) as client:
        assert client.subscribe(f"down/{devices[0].id}/anything/else") == 1
    with Control(login(settings, PROVISIONER_USER)) as control:
        changes = provisioning.reconcile(control, session, broker.mqtt_key)
        assert (changes.roles, changes.users, changes.removed) == (2 + len(SHARDS), 2, 0)
        assert provisioning.reconcile(control, session, broker.mqtt_key) == Changes()
    for device in devices:
        with connected(broker, device.id) as client:
            assert client.subscribe(f"down/{device.id}/reply") == 1
            assert client.subscribe(f"down/{device.id}/anything/else") == NOT_AUTHORIZED
            assert client.publish(f"up/{shard_of(device.id)}/{device.id}/location") < 0x80


def as_before_own_roles(state: dict[str, Any]) -> dict[str, Any]:
    """As Milepost 0.1 wrote it: a device had its shard's role only, with a pattern."""
    pattern = {"acltype": "subscribePattern", "topic": "down/+/#", "priority": 0, "allow": True}
    roles = [role for role in state["roles"] if not role["rolename"].startswith("down-")]
    for role in roles:
        if role["rolename"].startswith("device-"):
            role["acls"].append(pattern)
    for client in state["clients"]:
        client["roles"] = [{"rolename": client["roles"][-1]["rolename"]}]
    return {**state, "roles": roles}


def test_reconciling_reads_every_page(session: Session, broker: Broker, settings: Settings) -> None:
    company = factories.company(session)
    for _ in range(600):
        factories.device(session, company)
    session.commit()
    broker.rewrite(session)
    with Control(login(settings, PROVISIONER_USER)) as control:
        assert provisioning.reconcile(control, session, broker.mqtt_key) == Changes()


def test_a_refusal_is_an_error_and_not_silence(control: Control) -> None:
    with pytest.raises(ControlError, match="Role not found"):
        control.change({"command": "createClient", "username": "x", "roles": [{"rolename": "no-such-role"}]})


def test_only_the_provisioner_may_change_access(session: Session, broker: Broker) -> None:
    operator = factories.user(session, factories.company(session), Role.OPERATOR)
    session.commit()
    broker.rewrite(session)
    for user in ("relay", "api-0", "ingest-0", operator_user(operator.id)):
        with connected(broker, user) as client:
            assert client.publish("$CONTROL/dynamic-security/v1", b"{}") == NOT_AUTHORIZED, user
