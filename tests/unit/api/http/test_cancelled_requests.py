"""A request with an Idempotency-Key that is cancelled, as an upload is that takes too long."""

import anyio
from fastapi import Request, Response

from api.http import idempotency


class Once:
    """Stands for the request's transaction."""

    def __init__(self) -> None:
        self.is_closed = False

    def close(self) -> None:
        self.is_closed = True


def test_cancelled_request_closes_its_transaction() -> None:
    once = Once()

    async def handler(request: Request) -> Response:
        request.state.once = once
        await anyio.sleep_forever()
        raise AssertionError

    async def cancelled() -> None:
        with anyio.move_on_after(0):
            await idempotency._do_once(handler, Request({"type": "http", "state": {}}))

    anyio.run(cancelled)
    assert once.is_closed, "its connection was left to the garbage collector"
