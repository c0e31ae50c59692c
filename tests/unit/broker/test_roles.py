"""The roles as data: what must hold for each of them, however many there will be."""

import pytest

from broker import figures
from broker.access_control import roles
from broker.access_control.roles import LAST, SERVICE_ROLES, SERVICE_USERS, Acl, AclType, BrokerRole
from core.identities import SHARDS

ALL_ROLES = [*SERVICE_ROLES, roles.company_role("acme")]
CLOSED = [role for role in ALL_ROLES if not role.name.startswith("device-")]
PLUGIN_WORDS = {"publishClientSend", "publishClientReceive", "subscribePattern", "subscribeLiteral"}


@pytest.mark.parametrize("role", ALL_ROLES, ids=lambda role: role.name)
def test_every_role_ends_with_a_denial_of_all_subscribing(role: BrokerRole) -> None:
    assert Acl(AclType.SUBSCRIBE, "#", allow=False, priority=LAST) in role.acls
    assert all(acl.priority > LAST for acl in role.acls if acl.topic != "#")


@pytest.mark.parametrize("role", CLOSED, ids=lambda role: role.name)
def test_every_role_but_the_devices_denies_all_other_topics(role: BrokerRole) -> None:
    assert Acl(AclType.SEND, "#", allow=False, priority=LAST) in role.acls
    assert Acl(AclType.RECEIVE, "#", allow=False, priority=LAST) in role.acls


@pytest.mark.parametrize("role", ALL_ROLES, ids=lambda role: role.name)
def test_no_role_uses_a_word_that_the_plugin_would_ignore(role: BrokerRole) -> None:
    assert {str(acl.acltype) for acl in role.acls} <= PLUGIN_WORDS


def test_a_device_may_subscribe_to_a_counted_few_filters() -> None:
    role = roles.device_own_role("k3v9x0q2ma")
    assert {acl.acltype for acl in role.acls} == {AclType.SUBSCRIBE_EXACTLY}
    assert {acl.topic for acl in role.acls} == {
        "down/k3v9x0q2ma/reply",
        "down/k3v9x0q2ma/command",
        "down/k3v9x0q2ma/#",
    }
    shards = [role for role in SERVICE_ROLES if role.name.startswith("device-")]
    assert not any(acl.allow for role in shards for acl in role.acls)


def test_only_the_provisioner_may_touch_access_control() -> None:
    allowed = {
        role.name for role in ALL_ROLES for acl in role.acls if acl.allow and acl.topic.startswith("$CONTROL")
    }
    assert allowed == {"provisioner"}


def test_two_roles_read_the_brokers_figures_one_by_one() -> None:
    granted = {
        (role.name, acl.acltype, acl.topic)
        for role in ALL_ROLES
        for acl in role.acls
        if acl.allow and acl.topic.startswith("$SYS")
    }
    assert {role for role, _type, _topic in granted} == {"api", "status"}
    assert {str(kind) for _role, kind, _topic in granted} == {"subscribeLiteral", "publishClientReceive"}
    assert {topic for _role, _type, topic in granted} == set(figures.TOPICS)


def test_service_users_have_roles_that_exist() -> None:
    used = {name for user in SERVICE_USERS for name in user.roles}
    assert used <= {role.name for role in SERVICE_ROLES}
    assert {f"ingest-{shard}" for shard in SHARDS} | {"api-0", "api-31", "relay", "provisioner"} <= {
        user.name for user in SERVICE_USERS
    }
