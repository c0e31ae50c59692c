"""Routes that take pictures: a larger body, read for whoever is logged in only, a few at a time.

`LimitedRequest` counts the body while it streams. Its files wait on disk beyond 1 MiB each; each picture's
own limit is checked before it is decoded, in a few threads of their own: neither the event loop nor the
threads of the database wait for it.
"""

import re
from collections.abc import Mapping

import anyio
from anyio import CapacityLimiter
from fastapi import Request, Response, UploadFile
from fastapi.security.utils import get_authorization_scheme_param
from starlette.concurrency import run_in_threadpool

from api.auth.authentication import credential_of
from api.content.admission import Admission, Holder
from api.dependencies import Authorized
from api.fast_path.quick import Handler
from api.http.idempotency import OnceRoute
from core.deliveries.proofs.adding import MAXIMUM_PHOTOS
from core.deliveries.proofs.images import MAXIMUM_BYTES, ImageTooLarge, Picture, paint
from core.errors import DomainError, NotAuthenticated
from core.rules.enums import ImageKind

MAXIMUM_UPLOADS = 24  # under way at once in a process; those that do not paint yet cost a file each
MAXIMUM_OF_COMPANY = 8  # of them, so that none takes them all, however slowly it sends
MAXIMUM_OF_ONE = 2  # person or integration
UPLOAD_TIMEOUT_S = 300.0  # a phone on a slow line sends 12 MiB in it
FORM_BYTES = 64 * 1024  # texts, and the parts' own headers
MAXIMUM_PROOF_BYTES = (MAXIMUM_PHOTOS + 1) * MAXIMUM_BYTES + FORM_BYTES
# Paths whose bodies may be larger than others'.
LARGER_BODIES: Mapping[re.Pattern[str], int] = {
    re.compile(r"/deliveries/\d+/proofs/?", re.ASCII): MAXIMUM_PROOF_BYTES
}
PAINTERS = 2  # at once in a process: each may need 190 MiB for a moment


class UploadsBusy(DomainError):
    status_code = 503
    title = "Not available for the moment"

    def __init__(self) -> None:
        super().__init__(
            "Too many pictures are being sent; send them again in some seconds.", retry_after_s=5
        )


class Uploads:
    """How many are on their way, and who paints. Used from the event loop only."""

    def __init__(self) -> None:
        self.admission = Admission(
            UploadsBusy, slots=MAXIMUM_UPLOADS, per_company=MAXIMUM_OF_COMPANY, per_holder=MAXIMUM_OF_ONE
        )
        self.painters = CapacityLimiter(PAINTERS)

    async def picture(self, kind: ImageKind, file: UploadFile, field: str) -> Picture:
        """Raises `ImageTooLarge`, `InvalidValue`."""
        if file.size is not None and file.size > MAXIMUM_BYTES:
            raise ImageTooLarge(field)
        async with self.painters:  # before it is read, so that nobody's bytes wait in memory
            data = await file.read()
            await file.seek(0)
            return await anyio.to_thread.run_sync(paint, kind, data, field, limiter=CapacityLimiter(1))


class UploadRoute(OnceRoute):
    """A route whose POSTs are read only for a holder of a valid token, and while few others are."""

    def get_route_handler(self) -> Handler:
        handler = super().get_route_handler()
        return _admitted(handler) if self.is_once else handler


def _admitted(handler: Handler) -> Handler:
    async def handle(request: Request) -> Response:
        uploads: Uploads = request.app.state.uploads
        sender = await _authenticate(request)
        try:
            with uploads.admission.slot(sender), anyio.fail_after(UPLOAD_TIMEOUT_S):
                return await handler(request)
        except TimeoutError:
            raise UploadsBusy from None

    return handle


async def _authenticate(request: Request) -> Holder:
    """Who sends; the route asks again in the transaction of its work. Nobody else's 12 MiB are taken."""
    scheme, token = get_authorization_scheme_param(request.headers.get("authorization"))
    if scheme.lower() != "bearer" or not token:
        raise NotAuthenticated
    authorized = Authorized(request, credential_of(request.app.state.settings, token))
    return Holder.of(await run_in_threadpool(authorized.require_known))
