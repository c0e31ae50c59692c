"""A delivery's track over REST, streamed so that its length costs no memory."""

import json
from collections.abc import Generator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from sqlalchemy.orm import Session

from api.content.streams import DatabaseStream
from api.dependencies import Authorized, AuthorizedCall, now
from api.http.negotiation import NotAcceptable, best
from api.schemas.fields import PathId
from api.schemas.tracks import TrackOut, TrackQuery
from core.trips import track
from core.trips.segments import TripSegment
from core.trips.simplification import simplified
from core.trips.track import Track, TrackFix
from reports.tracks.writers import WRITERS, TrackFormat, TrackWriter, chunks

router = APIRouter(prefix="/deliveries", tags=["deliveries"])
FORMATS = {writer.media_type: name for name, writer in WRITERS.items()}
_START = datetime(2026, 3, 1, 12, tzinfo=UTC)
_LEG = TripSegment(7, _START, _START + timedelta(hours=1))
_FIX = TrackFix(7, _START, 52.52, 13.405, altitude_m=34.5, speed_kmh=36.0, device_id="k3v9x0q2ma")
_EXAMPLE = Track(42, "ORDER-1001", _LEG.start, _LEG.end, [_LEG])


def _example(name: TrackFormat) -> str:
    return "".join(WRITERS[name].write(_EXAMPLE, [(_LEG, [_FIX])]))


ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "model": TrackOut,
        "description": "The track, in the format asked for",
        "content": {
            "application/geo+json": {
                "schema": {"type": "object"},
                "example": json.loads(_example(TrackFormat.GEOJSON)),
            },
            "application/gpx+xml": {"schema": {"type": "string"}, "example": _example(TrackFormat.GPX)},
            "text/csv": {"schema": {"type": "string"}, "example": _example(TrackFormat.CSV)},
        },
    },
    NotAcceptable.status_code: {"description": NotAcceptable.title},
}


@router.get(
    "/{delivery_id}/track/",
    summary="Download a delivery's track",
    status_code=200,
    response_model=None,
    responses=ANSWERS,
)
async def read_track(
    request: Request,
    authorized: AuthorizedCall,
    delivery_id: PathId,
    query: Annotated[TrackQuery, Query()],
    accept: Annotated[str | None, Header(include_in_schema=False)] = None,
) -> DatabaseStream:
    """Read every fix of the delivery's vehicles while the delivery is under way.

    From the start of the pickup to the end, or to now (at most 366 days). A re-assignment changes the
    vehicle: each vehicle counts for its own trip segment. Fixes at (0, 0) are left out. For the delivery's
    driver, operators and managers; customers get 403, because it shows others' stops.

    * `json`: the trip segments (`legs`), and every fix with all that is known of it.
    * `geojson`: a FeatureCollection with one LineString per trip segment, cut into a MultiLineString where it
      crosses 180° of longitude; `coordTimes` has the times in the same shape. A line has altitudes only where
      all its fixes have one.
    * `gpx`: GPX 1.1, one segment per trip segment; speed (m/s) and course in TrackPointExtension v2.
    * `csv`: a header and one line per fix.

    With `tolerance_m` every omitted fix lies within that distance of the straight line between the fixes kept
    before and after it. The response is streamed: without its last chunk it is incomplete.
    """
    name = query.format or FORMATS[best(accept, list(FORMATS))]
    writer = WRITERS[name]
    return DatabaseStream(
        request.app.state.streams,
        authorized,
        _written(authorized, delivery_id, writer, query.tolerance_m),
        f"{writer.media_type}; charset=utf-8" if name is TrackFormat.CSV else writer.media_type,
        {
            "Content-Disposition": f'attachment; filename="delivery-{delivery_id}-track.{name}"',
            "Vary": "Accept",
        },
    )


def _written(
    authorized: Authorized, delivery_id: int, writer: TrackWriter, tolerance_m: float
) -> Generator[bytes, None, None]:
    """Yield the track's chunks in the transaction that authorised the actor.

    Closing the generator, as when the client disconnects, ends the transaction.
    """
    with authorized() as (session, actor):
        track.read_only(session)
        outline = track.find(session, actor, delivery_id, now())
        yield from chunks(writer.write(outline, _legs(session, outline, tolerance_m)))


def _legs(
    session: Session, outline: Track, tolerance_m: float
) -> Iterator[tuple[TripSegment, Iterator[TrackFix]]]:
    for leg in outline.legs:
        yield leg, simplified(track.fixes(session, leg), tolerance_m)
