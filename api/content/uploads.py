"""Routes that take images: a larger body, read only for authenticated clients, a few at a time.

`LimitedRequest` counts the body while it streams. Files beyond 1 MiB are spooled to disk; each image's own
limit is checked before it is decoded, in a few dedicated threads, so that neither the event loop nor the
database's threads wait for it.
"""

import re
from collections.abc import Mapping

import anyio
from anyio import CapacityLimiter
from fastapi import Request, Response, UploadFile
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool

from api.dependencies import Authorized, Handler
from api.gate import Gate, Holder
from api.http.route import ApiRoute
from core.deliveries.proofs.adding import MAXIMUM_PHOTOS
from core.deliveries.proofs.images import MAXIMUM_BYTES, ImageTooLarge, Picture, reencode
from core.errors import DomainError
from core.rules.enums import ImageKind

MAXIMUM_UPLOADS = 24  # at once in a process; those that are not being re-encoded yet cost a file each
MAXIMUM_OF_COMPANY = 8  # of them per tenant: a slow sender cannot take them all
MAXIMUM_OF_ONE = 2  # per user or integration
UPLOAD_TIMEOUT_S = 300.0  # enough for a phone on a slow line to send 12 MiB
FORM_BYTES = 64 * 1024  # text fields, and the parts' own headers
MAXIMUM_PROOF_BYTES = (MAXIMUM_PHOTOS + 1) * MAXIMUM_BYTES + FORM_BYTES
# Paths with a larger body limit.
LARGER_BODIES: Mapping[re.Pattern[str], int] = {
    re.compile(r"/deliveries/\d+/proofs/?", re.ASCII): MAXIMUM_PROOF_BYTES
}
MAXIMUM_REENCODINGS = 2  # images re-encoded at once in a process: each may need 190 MiB briefly


class UploadsBusy(DomainError):
    status_code = 503
    title = "Not available for the moment"

    def __init__(self) -> None:
        super().__init__(
            "Too many pictures are being sent; send them again in some seconds.", retry_after_s=5
        )


class Uploads:
    """The gate of uploads and threads for re-encoding images. Used from the event loop only."""

    def __init__(self) -> None:
        self.gate = Gate(
            UploadsBusy, slots=MAXIMUM_UPLOADS, per_company=MAXIMUM_OF_COMPANY, per_holder=MAXIMUM_OF_ONE
        )
        self.reencoding_slots = CapacityLimiter(MAXIMUM_REENCODINGS)

    async def picture(self, kind: ImageKind, file: UploadFile, field: str) -> Picture:
        """Decode and re-encode one image. Raises `ImageTooLarge`, `InvalidValue`."""
        if file.size is not None and file.size > MAXIMUM_BYTES:
            raise ImageTooLarge(field)
        async with self.reencoding_slots:  # before reading, so that waiting images are not held in memory
            data = await file.read()
            await file.seek(0)
            return await anyio.to_thread.run_sync(reencode, kind, data, field, limiter=CapacityLimiter(1))


def _admitted(route: APIRoute, handler: Handler) -> Handler:
    """Wrap ``handler`` so that a POST's body is read for a valid token, while few other uploads run."""
    if "POST" not in (route.methods or ()):
        return handler

    async def handle(request: Request) -> Response:
        uploads: Uploads = request.app.state.uploads
        sender = await _authenticate(request)
        try:
            with uploads.gate.slot(sender), anyio.fail_after(UPLOAD_TIMEOUT_S):
                return await handler(request)
        except TimeoutError:
            raise UploadsBusy from None

    return handle


class UploadRoute(ApiRoute):
    wrappings = (*ApiRoute.wrappings, _admitted)


async def _authenticate(request: Request) -> Holder:
    """Return the sender before its body of up to 12 MiB is read; the work's transaction checks it again."""
    return Holder.of(await run_in_threadpool(Authorized(request).require_known))
