"""What the outbox relay says of itself in its heartbeat."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.orm import Session, sessionmaker

from broker.relay import Relay
from core.database import dedicated
from core.health.heartbeats import PartState
from core.settings import Settings
from tests.support.services.mosquitto import Broker
from tests.support.waiting import wait_until


@contextmanager
def relay_at_work(settings: Settings, sessions: sessionmaker[Session]) -> Iterator[Relay]:
    stop = threading.Event()
    connection = dedicated.connect(settings, "jobs-leader")
    relay = Relay(connection, sessions, settings, stop)
    worker = threading.Thread(target=relay.run)
    worker.start()
    try:
        yield relay
    finally:
        stop.set()
        worker.join(10)
        connection.close()
        assert not worker.is_alive()


def wait_for(relay: Relay, state: PartState) -> str:
    wait_until(lambda: relay.beats()[0].state == state, timeout=30, what=state)
    return relay.beats()[0].detail or ""


def test_it_says_whether_it_is_on_the_broker(
    settings: Settings, sessions: sessionmaker[Session], broker: Broker
) -> None:
    with relay_at_work(settings, sessions) as relay:
        assert wait_for(relay, PartState.OK) == ""
        broker.stop()
        assert str(broker.port) not in wait_for(relay, PartState.OFF_BROKER)
        broker.start()
        wait_for(relay, PartState.OK)


def test_a_broker_whose_users_cannot_be_changed_impairs_it(
    settings: Settings, sessions: sessionmaker[Session], broker: Broker
) -> None:
    broker.stop()
    state = json.loads(broker.plugin_file.read_text())
    (role,) = (role for role in state["roles"] if role["rolename"] == "provisioner")
    role["acls"] = [acl for acl in role["acls"] if acl["acltype"] != "publishClientSend"]
    broker.plugin_file.write_text(json.dumps(state))
    broker.start()
    with relay_at_work(settings, sessions) as relay:
        assert "users and roles may differ" in wait_for(relay, PartState.IMPAIRED)
