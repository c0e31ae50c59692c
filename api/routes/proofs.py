"""Proofs of delivery over REST: images are uploaded, re-encoded, and served to those who see the delivery."""

from collections import Counter
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Form, Header, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData

from api.content.uploads import UploadRoute, Uploads
from api.dependencies import Authorized, AuthorizedCall, now
from api.http.openapi import CONFLICT
from api.schemas.fields import PathId
from api.schemas.pages import Page
from api.schemas.proofs import PathNumber, ProofAddedOut, ProofForm, ProofOut, place_of
from api.schemas.tracking import StatusOut
from core.deliveries import lookup, status_changes
from core.deliveries.proofs import adding, showing
from core.deliveries.proofs.adding import ProofNew
from core.deliveries.proofs.images import Picture
from core.deliveries.status_changes import StatusRequest
from core.errors import InvalidValue
from core.rules.enums import ImageKind

router = APIRouter(prefix="/deliveries", tags=["deliveries"], route_class=UploadRoute)
_PICTURE = {"schema": {"type": "string", "format": "binary"}, "example": "the picture's bytes"}
PICTURE: dict[int | str, dict[str, Any]] = {
    200: {"description": "The picture", "content": {"image/jpeg": _PICTURE, "image/png": _PICTURE}},
    304: {"description": "Not changed since the `ETag` of If-None-Match"},
}


class Upload(msgspec.Struct, frozen=True):
    """A proof with re-encoded images, and the status request sent with it."""

    proof: ProofNew
    status: StatusRequest | None

    @property
    def fingerprint(self) -> str:
        """Identify a repeated request; see `api.http.idempotency`."""
        return adding.fingerprint(self.proof).hex() + repr(self.status)


async def _upload(
    request: Request,
    authorized: AuthorizedCall,
    delivery_id: PathId,
    form: Annotated[ProofForm, Form(media_type="multipart/form-data")],
) -> Upload:
    """Read the form. Images are decoded only for an actor who may add a proof."""
    _require_single(await request.form())
    await run_in_threadpool(_require_may_add, authorized, delivery_id)
    proof = ProofNew(
        recipient_name=form.recipient_name,
        note=form.note,
        occurred_at=form.occurred_at,
        location=form.location,
        pictures=await _pictures(request.app.state.uploads, form),
    )
    if form.status is None:
        return Upload(proof, None)
    status = StatusRequest(
        status=form.status, reason=form.reason, occurred_at=form.occurred_at, location=form.location
    )
    return Upload(proof, status)


def _require_single(form: FormData) -> None:
    """Raise `InvalidValue` for a repeated field: of two signatures one would be dropped silently."""
    counted = Counter(name for name, _ in form.multi_items())
    for name, count in counted.items():
        if count > 1 and name != "photos":
            raise InvalidValue(name, "is there more than once")


def _require_may_add(authorized: Authorized, delivery_id: int) -> None:
    with authorized() as (session, actor):
        adding.require_may_add(session, actor, delivery_id)


async def _pictures(uploads: Uploads, form: ProofForm) -> tuple[Picture, ...]:
    found = [
        await uploads.picture(ImageKind.PHOTO, photo, f"photos.{index}")
        for index, photo in enumerate(form.photos)
    ]
    if form.signature is not None:
        found.append(await uploads.picture(ImageKind.SIGNATURE, form.signature, "signature"))
    return tuple(found)


@router.post("/{delivery_id}/proofs/", summary="Add a proof of delivery", status_code=201, responses=CONFLICT)
def add_proof(
    authorized: AuthorizedCall,
    delivery_id: PathId,
    upload: Annotated[Upload, Depends(_upload)],
    response: Response,
) -> ProofAddedOut:
    """Add a proof of delivery, which is never changed. Requires the delivery's driver or the manager role.

    A proof is accepted at any time: a phone may be offline for days. An image's format is detected from its
    content. Images are re-encoded (photos as JPEG of at most 2048 pixels per edge, signatures as grey PNG,
    light ink on transparency as dark on white), so that places, comments and any other metadata are removed.
    A blank image is refused. The same proof sent again returns the first one. With `status` the delivery's
    status changes in the same transaction.
    """
    with authorized() as (session, actor):
        at = now()
        added = adding.add(session, actor, delivery_id, upload.proof, at)
        change = None
        if upload.status is not None:
            change = StatusOut.of(
                status_changes.change_status(session, actor, delivery_id, upload.status, at)
            )
        response.headers["Location"] = place_of(delivery_id, added.proof.id)
        return ProofAddedOut.added(delivery_id, added.proof, change)


@router.get("/{delivery_id}/proofs/", summary="List a delivery's proofs")
def list_proofs(authorized: AuthorizedCall, delivery_id: PathId) -> Page[ProofOut]:
    """List all of the delivery's proofs, at most 20, in order of arrival.

    For every user who may see the delivery.
    """
    with authorized() as (session, actor):
        lookup.require_visible(session, actor, delivery_id)
        items = [ProofOut.of(delivery_id, proof) for proof in showing.of_delivery(session, delivery_id)]
        return Page(items=items, next=None)


@router.get("/{delivery_id}/proofs/{proof_id}/", summary="Read a proof of delivery")
def read_proof(authorized: AuthorizedCall, delivery_id: PathId, proof_id: PathId) -> ProofOut:
    """Read a proof, for every user who may see the delivery."""
    with authorized() as (session, actor):
        lookup.require_visible(session, actor, delivery_id)
        return ProofOut.of(delivery_id, showing.find(session, delivery_id, proof_id))


@router.get(
    "/{delivery_id}/proofs/{proof_id}/images/{number}/",
    summary="Download a proof's picture",
    response_class=Response,
    responses=PICTURE,
)
def read_proof_image(
    authorized: AuthorizedCall,
    delivery_id: PathId,
    proof_id: PathId,
    number: PathNumber,
    if_none_match: Annotated[str | None, Header(max_length=1000)] = None,
) -> Response:
    """Read an image. Its `ETag` is its SHA-256.

    Browsers may cache it but must revalidate it each time.
    """
    with authorized() as (session, actor):
        lookup.require_visible(session, actor, delivery_id)
        image = showing.image(session, delivery_id, proof_id, number)
        suffix = image.media_type.rpartition("/")[2].replace("jpeg", "jpg")
        name = f"delivery-{delivery_id}-proof-{proof_id}-{image.kind}-{number}.{suffix}"
        headers = {
            "ETag": f'"{image.sha256}"',
            "Cache-Control": "private, no-cache",
            "Vary": "Authorization",
            "X-Content-Type-Options": "nosniff",
            "Content-Security-Policy": "default-src 'none'; sandbox",
            "Content-Disposition": f'inline; filename="{name}"',
        }
        if _has(if_none_match, image.sha256):
            return Response(status_code=304, headers=headers)
        content = showing.image_bytes(session, delivery_id, image.id)
        return Response(content, headers=headers, media_type=image.media_type)


def _has(if_none_match: str | None, sha256: str) -> bool:
    """Return whether a tag matches, by weak comparison (RFC 9110, 13.1.2)."""
    tags = {tag.strip().removeprefix("W/") for tag in (if_none_match or "").split(",")}
    return f'"{sha256}"' in tags or "*" in tags
