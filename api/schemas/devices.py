"""GPS units and drivers' phones as clients send and see them."""

from datetime import datetime
from typing import Annotated, Self

from pydantic import Field

from api.schemas.fields import BrokerUrl, Input, Line, Output, QueryId, RowId
from api.schemas.pages import PageQuery
from broker import topics
from core.fleet.devices import Credentials


class DeviceIn(Input):
    """A new device, bound to a vehicle, to a driver (a phone), or to neither yet."""

    label: Line
    vehicle_id: RowId | None = None
    driver_id: RowId | None = None


class DevicePatch(Input):
    """Binding to a vehicle unbinds the driver, and the other way round; null unbinds."""

    label: Line = Field(default_factory=str)
    vehicle_id: RowId | None = None
    driver_id: RowId | None = None


class DeviceQuery(PageQuery):
    vehicle_id: QueryId | None = None
    driver_id: QueryId | None = None


class DeviceOut(Output):
    """A device. ``id`` is its MQTT user name: ten characters, chosen by the API, permanent."""

    id: Annotated[str, Field(examples=["k3v9x0q2ma"])]
    label: str
    vehicle_id: int | None
    driver_id: int | None
    disabled_at: datetime | None
    last_heard_at: datetime | None = Field(description="When its last telemetry arrived, to the minute.")
    created_at: datetime


class DeviceTopics(Output):
    """The device's topics.

    It publishes on ``location`` and ``status`` with QoS 1, and subscribes to ``reply`` and ``command``.
    """

    location: str
    status: str
    reply: str
    command: str


class CredentialsOut(Output):
    broker_url: BrokerUrl
    user_name: str
    secret: str
    shard: str
    topics: DeviceTopics

    @classmethod
    def of(cls, credentials: Credentials, broker_url: str) -> Self:
        device, shard = credentials.device_id, credentials.shard
        return cls(
            broker_url=broker_url,
            user_name=device,
            secret=credentials.secret,
            shard=shard,
            topics=DeviceTopics(
                location=topics.up(shard, device, "location"),
                status=topics.up(shard, device, "status"),
                reply=topics.reply(device),
                command=topics.command(device),
            ),
        )
