"""A limit on request bodies, told in our one error shape."""

import re
from collections.abc import Mapping

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import problem

TOO_LARGE = "The body is larger than this server takes."


class LimitedBody:
    """ASGI middleware: 413 at once for a Content-Length above the limit, or as soon as a stream passes it."""

    def __init__(self, app: ASGIApp, maximum: int, larger: Mapping[re.Pattern[str], int] = {}) -> None:
        """``larger`` are the limits of paths that take more, by what all of the path matches."""
        self.app = app
        self.maximum = maximum
        self.larger = larger

    def _maximum(self, path: str) -> int:
        return next((limit for paths, limit in self.larger.items() if paths.fullmatch(path)), self.maximum)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        maximum = self._maximum(scope["path"])
        announced = Headers(scope=scope).get("content-length", "0")
        if announced.isdecimal() and int(announced) > maximum:
            await problem(413, "BodyTooLarge", "Content Too Large", TOO_LARGE)(scope, receive, send)
            return
        taken = 0

        async def counted() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > maximum:
                raise HTTPException(413, TOO_LARGE)
            return message

        await self.app(scope, counted, send)
