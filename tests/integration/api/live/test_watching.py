"""Facts from a real broker on a real WebSocket: who gets what, in which order, once."""

from datetime import UTC, datetime, timedelta

from broker import payloads, topics
from core.deliveries import checkpoints
from core.positions import store
from core.rules.enums import Status
from core.rules.fix import Fix, VehicleFix
from core.settings import Settings
from tests.support import factories
from tests.support.servers.live_server import LiveServer, Publisher, retained
from tests.support.services.mosquitto import Broker
from tests.support.waiting import wait_until
from tests.support.watched_company import NOON, WatchedCompany, house, publisher, server

__all__ = ["house", "publisher", "server"]


def test_customer_sees_the_present_status_then_each_change(
    server: LiveServer, publisher: Publisher, house: WatchedCompany
) -> None:
    with server.watch(house.customer, house.delivery.id) as watcher:
        first = watcher.next()
        assert (first["type"], first["status"], first["kind"]) == ("status_update", "in_transit", "status")
        assert "driver" not in first
        fact = house.change(Status.RETURNED, "nobody at home")
        publisher.status(fact)
        second = watcher.next()
    assert second["checkpoint_id"] == fact.checkpoint > first["checkpoint_id"]
    assert (second["status"], second["reason"]) == ("returned", "nobody at home")
    assert second["occurred_at"].endswith("Z")


def test_location_goes_to_the_named_deliveries_and_to_no_other(
    server: LiveServer, publisher: Publisher, house: WatchedCompany
) -> None:
    other = house.add_delivery(Status.PENDING)
    with (
        server.watch(house.customer, house.delivery.id) as named,
        server.watch(house.manager, other.id) as unnamed,
    ):
        named.next()
        unnamed.next()
        publisher.position(house.position(1, house.delivery.id))
        update = named.next()
        assert unnamed.until_answered() == []
    assert update["type"] == "location_update"
    assert (update["delivery"], update["vehicle"]) == (house.delivery.id, house.vehicle.id)
    assert (update["latitude"], update["longitude"]) == (52.4001, 13.2)
    assert (update["speed_kmh"], update["course_deg"]) == (36.0, 10.0)
    assert update["fix_time"] == "2026-05-04T12:00:01Z"
    assert update["eta"] > update["fix_time"]


def test_older_or_repeated_position_is_not_sent(
    server: LiveServer, publisher: Publisher, house: WatchedCompany
) -> None:
    with server.watch(house.customer, house.delivery.id) as watcher:
        watcher.next()
        for second in (5, 5, 4, 6):
            publisher.position(house.position(second, house.delivery.id))
        times = [watcher.next()["fix_time"][-3:-1] for _ in range(2)]
    assert times == ["05", "06"]


def test_repeated_and_stale_status_facts_are_sent_once(
    server: LiveServer, publisher: Publisher, house: WatchedCompany
) -> None:
    with server.watch(house.manager, house.delivery.id) as watcher:
        first = watcher.next()
        assigned = house.assign(driver_id=factories.driver(house.session, house.company).id)
        failed = house.change(Status.FAILED, "accident")
        for fact in (assigned, assigned, failed, assigned, failed):
            publisher.status(fact)
        updates = [watcher.next(), watcher.next()]
        assert watcher.until_answered() == []
    assert [update["checkpoint_id"] for update in updates] == [assigned.checkpoint, failed.checkpoint]
    assert updates[0]["checkpoint_id"] > first["checkpoint_id"]
    assert (updates[0]["kind"], updates[0]["driver"]) == ("assignment", assigned.driver)


def test_customers_get_no_assignments(
    server: LiveServer, publisher: Publisher, house: WatchedCompany
) -> None:
    with server.watch(house.customer, house.delivery.id) as watcher:
        watcher.next()
        publisher.status(house.assign(driver_id=factories.driver(house.session, house.company).id))
        failed = house.change(Status.FAILED, "accident")
        publisher.status(failed)
        assert watcher.next()["checkpoint_id"] == failed.checkpoint


def test_under_way_snapshot_has_the_newest_position(server: LiveServer, house: WatchedCompany) -> None:
    house.vehicle.position_time = NOON
    house.vehicle.position_latitude, house.vehicle.position_longitude = 52.5, 13.4
    house.delivery.started_at = NOON + timedelta(seconds=1)
    house.session.commit()
    with server.watch(house.customer, house.delivery.id) as watcher:
        assert watcher.next()["type"] == "status_update"
        assert watcher.until_answered() == []  # where the van was before is another customer's business
    house.delivery.started_at = NOON
    house.session.commit()
    with server.watch(house.customer, house.delivery.id) as watcher:
        assert watcher.next()["type"] == "status_update"
        assert watcher.next()["latitude"] == 52.5
    pending = house.add_delivery(Status.PENDING)
    with server.watch(house.customer, pending.id) as watcher:
        assert watcher.next()["type"] == "status_update"
        assert watcher.until_answered() == []


def test_resuming_gives_exactly_what_was_missed_in_order_then_live(
    server: LiveServer, publisher: Publisher, house: WatchedCompany
) -> None:
    with server.watch(house.manager, house.delivery.id) as watcher:
        last = watcher.next()["checkpoint_id"]
    missed = [
        house.assign(driver_id=factories.driver(house.session, house.company).id).checkpoint for _ in range(3)
    ]
    with server.watch(house.manager, house.delivery.id, last=last) as watcher:
        assert [watcher.next()["checkpoint_id"] for _ in missed] == missed
        fact = house.change(Status.FAILED, "accident")
        publisher.status(fact)
        assert watcher.next()["checkpoint_id"] == fact.checkpoint
    with server.watch(house.manager, house.delivery.id, last=fact.checkpoint) as watcher:
        assert watcher.until_answered() == []


def test_resuming_after_a_day_gets_a_resync(server: LiveServer, house: WatchedCompany) -> None:
    first = checkpoints.announced_since(house.session, house.delivery.id, 0, 1)[0]
    first.recorded_at -= timedelta(hours=25)
    house.change(Status.FAILED, "accident")
    with server.watch(house.customer, house.delivery.id, last=first.id) as watcher:
        assert watcher.next() == {"type": "resync"}
        assert watcher.next()["status"] == "failed"


def test_reassignment_moves_to_the_other_vehicle(
    server: LiveServer, publisher: Publisher, house: WatchedCompany
) -> None:
    company, first = house.company.slug, house.vehicle.id
    second = factories.vehicle(house.session, house.company).id
    with server.watch(house.customer, house.delivery.id) as watcher:
        watcher.next()
        publisher.status(house.assign(vehicle_id=second))
        wait_until(
            lambda: (
                server.subscribed()
                == {topics.status(company, house.delivery.id), topics.position(company, second)}
            ),
            what="the subscription to move",
        )
        publisher.position(house.position(9, house.delivery.id, vehicle=first))
        publisher.position(house.position(3, house.delivery.id, vehicle=second))
        assert watcher.next()["vehicle"] == second


def test_customer_taken_off_hears_nothing_of_what_is_committed_after(
    server: LiveServer, publisher: Publisher, house: WatchedCompany
) -> None:
    with server.watch(house.customer, house.delivery.id) as watcher:
        watcher.next()
        house.assign(customer_id=factories.customer(house.session, house.company).id)
        here = VehicleFix(house.vehicle.id, Fix(fix_time=datetime.now(UTC), latitude=52.5, longitude=13.4))
        [fact] = store.store(house.session, [here], datetime.now(UTC)).facts
        house.session.commit()
        publisher.position(fact)
        publisher.status(house.change(Status.DELIVERED))
        assert watcher.events_until_close() == []
        assert watcher.client.close_code == 4404


def test_nothing_is_shown_after_the_end(
    server: LiveServer, publisher: Publisher, house: WatchedCompany
) -> None:
    with server.watch(house.customer, house.delivery.id) as watcher:
        watcher.next()
        publisher.status(house.change(Status.DELIVERED))
        assert watcher.next()["status"] == "delivered"
        publisher.position(house.position(9, house.delivery.id))
        assert watcher.until_answered() == []


def test_facts_missed_during_a_broker_outage_arrive_once(
    server: LiveServer, broker: Broker, house: WatchedCompany, settings: Settings
) -> None:
    with server.watch(house.manager, house.delivery.id) as watcher:
        watcher.next()
        broker.stop()
        wait_until(lambda: not server.live.connected, what="the bridge to notice")
        drivers = [factories.driver(house.session, house.company).id for _ in range(2)]
        missed = [house.assign(driver_id=driver) for driver in drivers]
        broker.start()
        got = [watcher.next(15)["checkpoint_id"] for _ in missed]
        assert got == [fact.checkpoint for fact in missed]
        relay = Publisher(settings)
        failed = house.change(Status.FAILED, "accident")
        for fact in (*missed, failed):
            relay.status(fact)
        relay.close()
        assert watcher.next()["checkpoint_id"] == failed.checkpoint, "live again, and nothing twice"


def test_positions_published_during_a_broker_outage_come_later(
    server: LiveServer, broker: Broker, house: WatchedCompany, settings: Settings
) -> None:
    with server.watch(house.customer, house.delivery.id) as watcher:
        watcher.next()
        broker.stop()
        wait_until(lambda: not server.live.connected, what="the bridge to notice")
        fact = house.position(7, house.delivery.id)
        server.live.publish([house.position(5, house.delivery.id)])
        server.live.publish([fact])
        house.vehicle.position_time = fact.fix_time
        house.vehicle.position_latitude, house.vehicle.position_longitude = fact.latitude, fact.longitude
        house.session.commit()
        broker.start()
        assert watcher.next(15)["fix_time"] == "2026-05-04T12:00:07Z"
        topic, payload = payloads.position_message(fact)
        assert retained(settings, topic) == payload
        assert watcher.until_answered() == []


def test_published_positions_reach_the_watchers_of_every_process(
    server: LiveServer, house: WatchedCompany, settings: Settings
) -> None:
    second = LiveServer(settings)
    second.start()
    try:
        assert {server.live.user_name, second.live.user_name} == {"api-0", "api-1"}
        with server.watch(house.customer, house.delivery.id) as watcher:
            watcher.next()
            second.live.publish([house.position(1, house.delivery.id)])
            assert watcher.next()["type"] == "location_update"
    finally:
        second.stop()


def test_topics_are_subscribed_exactly_while_watched(
    server: LiveServer, publisher: Publisher, house: WatchedCompany
) -> None:
    both = {
        topics.status(house.company.slug, house.delivery.id),
        topics.position(house.company.slug, house.vehicle.id),
    }
    assert server.subscribed() == set()
    with server.watch(house.customer, house.delivery.id) as first:
        first.next()
        assert server.subscribed() == both
        with server.watch(house.manager, house.delivery.id) as second:
            second.next()
        wait_until(lambda: server.live.metrics.sockets._value.get() == 1)
        publisher.position(house.position(1, house.delivery.id))
        assert first.next()["type"] == "location_update"
    wait_until(lambda: server.subscribed() == set(), what="the last watcher's topics to be left")


def test_retained_facts_are_not_sent_to_a_new_watcher(
    server: LiveServer, publisher: Publisher, house: WatchedCompany
) -> None:
    publisher.position(house.position(1, house.delivery.id))
    with server.watch(house.customer, house.delivery.id) as watcher:
        assert watcher.next()["type"] == "status_update"
        assert watcher.until_answered() == []


def test_a_malformed_fact_harms_no_watcher(
    server: LiveServer, publisher: Publisher, house: WatchedCompany
) -> None:
    topic = topics.position(house.company.slug, house.vehicle.id)
    with server.watch(house.customer, house.delivery.id) as watcher:
        watcher.next()
        for payload in (b"{", b"", b"null", b"\xff\xfe", b'{"company":1}'):
            publisher.raw(topic, payload)
        publisher.position(house.position(1, house.delivery.id))
        assert watcher.next()["type"] == "location_update"


def test_driver_who_loses_the_delivery_is_closed(
    server: LiveServer, publisher: Publisher, house: WatchedCompany
) -> None:
    with server.watch(house.driver, house.delivery.id) as watcher:
        watcher.next()
        publisher.status(house.assign(driver_id=factories.driver(house.session, house.company).id))
        assert watcher.close_code() == 4404
