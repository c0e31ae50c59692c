"""What an integration does with the generated client: a manager's delivery, from its creation to its record.

`milepost_client` exists only while `test_generated_client` runs, which checks this file against its types.
"""

from milepost_client import AuthenticatedClient, Client
from milepost_client.api.deliveries import (
    change_status,
    create_delivery,
    list_checkpoints,
    read_delivery,
    read_track,
    report_location,
)
from milepost_client.api.people import log_in
from milepost_client.models import (
    BodyLogIn,
    DeliveryDetail,
    DeliveryNew,
    LocationIn,
    LocationOut,
    PageCheckpointOut,
    Place,
    Problem,
    Status,
    StatusIn,
    StatusOut,
    Tokens,
    TrackOut,
)


def logged_in(url: str, email: str, password: str) -> AuthenticatedClient:
    with Client(base_url=url, raise_on_unexpected_status=True) as client:
        tokens = log_in.sync(client=client, body=BodyLogIn(username=email, password=password))
    assert isinstance(tokens, Tokens)
    return AuthenticatedClient(url, tokens.access_token, raise_on_unexpected_status=True)


def deliver(client: AuthenticatedClient, customer_id: int, driver_id: int, vehicle_id: int) -> list[str]:
    """Returns the kinds of the delivery's checkpoints."""
    body = DeliveryNew(
        reference="ORDER-1",
        customer_id=customer_id,
        driver_id=driver_id,
        vehicle_id=vehicle_id,
        pickup=Place(address="Alexanderplatz 1, Berlin", latitude=52.52, longitude=13.405),
        dropoff=Place(address="Am Alten Markt 1, Potsdam", latitude=52.3906, longitude=13.0645),
    )
    made = create_delivery.sync(client=client, body=body)
    assert isinstance(made, DeliveryDetail)

    started = change_status.sync(made.id, client=client, body=StatusIn(status=Status.PICKUP_IN_PROGRESS))
    assert isinstance(started, StatusOut)

    reported = report_location.sync(made.id, client=client, body=LocationIn(latitude=52.5, longitude=13.3))
    assert isinstance(reported, LocationOut)

    seen = read_delivery.sync(made.id, client=client)
    assert isinstance(seen, DeliveryDetail)
    assert seen.status is Status.PICKUP_IN_PROGRESS
    assert seen.position is not None
    assert seen.position.latitude == 52.5

    track = read_track.sync(made.id, client=client)
    assert isinstance(track, TrackOut)
    assert [fix.latitude for fix in track.fixes] == [52.5]

    refused = change_status.sync(made.id, client=client, body=StatusIn(status=Status.PENDING))
    assert isinstance(refused, Problem)
    assert refused.error == "InvalidTransition"
    assert refused["allowed"] == ["in_transit", "failed"]

    checkpoints = list_checkpoints.sync(made.id, client=client, limit=10)
    assert isinstance(checkpoints, PageCheckpointOut)
    return [checkpoint.kind.value for checkpoint in checkpoints.items]
