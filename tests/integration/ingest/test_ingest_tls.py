"""Ingest over TLS: certificates are checked, and nothing waits in a buffer that no selector knows of."""

import threading
from pathlib import Path

import pytest
import trustme
from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker

from broker import topics
from broker.connection import login
from core.identities import ingest_user
from ingest.connection import Connection, ConnectionLost
from ingest.metrics import IngestMetrics
from ingest.worker import Worker, shards_of
from tests.support import factories
from tests.support.devices import device, fix
from tests.support.servers.fronts import tls_front
from tests.support.services.mosquitto import Broker
from tests.support.services.settings import make_settings
from tests.support.waiting import wait_until


def test_fixes_arrive_over_tls(
    broker: Broker, session: Session, sessions: sessionmaker[Session], database_url: str, tmp_path: Path
) -> None:
    company = factories.company(session)
    unit = factories.device(session, company, vehicle_id=factories.vehicle(session, company).id)
    session.commit()
    broker.rewrite(session)
    with tls_front((broker.host, broker.port), tmp_path) as (port, ca_file):
        settings = make_settings(
            database_url, f"mqtts://localhost:{port}", broker.mqtt_key, mqtt_ca_file=ca_file
        )
        worker = Worker(settings, sessions, shards_of(0, 1), IngestMetrics())
        thread = threading.Thread(target=worker.run)
        thread.start()
        try:
            wait_until(lambda: worker.connected == 16)
            with device(broker, unit.id) as client:
                # Arrays of far more than a TLS record's 16 KiB, and an answer to each.
                for first in range(0, 3_000, 500):
                    answer = client.ask([fix(second, note="x" * 100) for second in range(first, first + 500)])
                    assert {result["result"] for result in answer["results"]} == {"stored"}
        finally:
            worker.stop()
            thread.join(15)
    assert session.execute(text("SELECT count(*) FROM position")).scalar_one() == 3_000


def test_a_broker_with_an_untrusted_certificate_is_refused(broker: Broker, tmp_path: Path) -> None:
    stranger = tmp_path / "stranger.pem"
    trustme.CA().cert_pem.write_to_path(str(stranger))
    with tls_front((broker.host, broker.port), tmp_path) as (port, _ca_file):
        settings = make_settings(
            "postgresql://x", f"mqtts://localhost:{port}", broker.mqtt_key, mqtt_ca_file=stranger
        )
        with pytest.raises(ConnectionLost, match="TLS"):
            Connection(login(settings, ingest_user("0")), topics.shard_filter("0"))
