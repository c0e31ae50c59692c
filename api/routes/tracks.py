"""A delivery's track over REST: streamed, so that its length costs nobody memory."""

from collections.abc import Generator, Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from sqlalchemy.orm import Session

from api.dependencies import Authorized, AuthorizedCall, now
from api.negotiation import NotAcceptable, best
from api.schemas.fields import PathId
from api.schemas.tracks import TrackOut, TrackQuery
from api.streams import DatabaseStream
from core import track
from core.delivery_report import Leg
from core.simplification import simplified
from core.track import Track, TrackFix
from reports.tracks import WRITERS, TrackFormat, Writer, chunks

router = APIRouter(prefix="/deliveries", tags=["deliveries"])
FORMATS = {writer.media_type: name for name, writer in WRITERS.items()}
ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "model": TrackOut,
        "description": "The track, in the format asked for",
        "content": {
            "application/geo+json": {"schema": {"type": "object"}},
            "application/gpx+xml": {"schema": {"type": "string"}},
            "text/csv": {"schema": {"type": "string"}},
        },
    },
    NotAcceptable.status_code: {"description": NotAcceptable.title},
}


@router.get(
    "/{delivery_id}/track/",
    summary="Download a delivery's track",
    response_class=DatabaseStream,
    responses=ANSWERS,
)
async def read_track(
    request: Request,
    authorized: AuthorizedCall,
    delivery_id: PathId,
    query: Annotated[TrackQuery, Query()],
    accept: Annotated[str | None, Header(include_in_schema=False)] = None,
) -> DatabaseStream:
    """Every fix of its vehicles from the start of the pickup to the end, or to now (at most 366 days).

    A re-assignment changes the vehicle: each counts for its own part. Fixes at (0, 0) are left out. For the
    delivery's driver, operators and managers; customers get 403, as it shows others' stops.

    * `json`: the legs, and every fix with all that is known of it.
    * `geojson`: a FeatureCollection with one LineString for each vehicle's part; `coordTimes` has the times.
    * `gpx`: GPX 1.1, one segment for each vehicle's part; speed (m/s) and course in TrackPointExtension v2.
    * `csv`: a header and a line for each fix.

    With `tolerance_m` every fix that is left out lies within that distance of the straight line between the
    fixes kept before and after it. The answer is streamed: without its last chunk it is incomplete.
    """
    name = query.format or FORMATS[best(accept, list(FORMATS))]
    writer = WRITERS[name]
    return DatabaseStream(
        request.app.state.streams,
        _written(authorized, delivery_id, writer, query.tolerance_m),
        f"{writer.media_type}; charset=utf-8" if name is TrackFormat.CSV else writer.media_type,
        {
            "Content-Disposition": f'attachment; filename="delivery-{delivery_id}-track.{name}"',
            "Vary": "Accept",
        },
    )


def _written(
    authorized: Authorized, delivery_id: int, writer: Writer, tolerance_m: float
) -> Generator[bytes, None, None]:
    """Authorised in the very transaction that is read from; whoever stops reading closes it."""
    with authorized() as (session, actor):
        track.read_only(session)
        outline = track.find(session, actor, delivery_id, now())
        yield from chunks(writer.write(outline, _legs(session, outline, tolerance_m)))


def _legs(session: Session, outline: Track, tolerance_m: float) -> Iterator[tuple[Leg, Iterator[TrackFix]]]:
    for leg in outline.legs:
        yield leg, simplified(track.fixes(session, leg), tolerance_m)
