"""Accept every path with and without its trailing slash.

The path is rewritten, not redirected, so that no POST loses its body.
"""

from collections.abc import Iterable, Mapping

from starlette.types import ASGIApp, Receive, Scope, Send


def slash_table(paths: Iterable[str]) -> dict[str, bool]:
    """Return whether routes end with a slash, per first segment. Raises `ValueError` when they differ."""
    table: dict[str, bool] = {}
    for path in paths:
        segment, is_slashed = path.removeprefix("/").partition("/")[0], path.endswith("/")
        if table.setdefault(segment, is_slashed) != is_slashed:
            raise ValueError(f"routes below /{segment} must agree on the trailing slash: {path}")
    return table


def declared_form(path: str, table: Mapping[str, bool]) -> str:
    """Return the path as its route declares it; below an unknown first segment it stays unchanged."""
    is_slashed = table.get(path.removeprefix("/").partition("/")[0])
    if is_slashed is None or path.endswith("/") == is_slashed:
        return path
    return f"{path}/" if is_slashed else path.removesuffix("/")


class Slashes:
    """Rewrite the path of HTTP and WebSocket requests (ASGI middleware)."""

    def __init__(self, app: ASGIApp, table: Mapping[str, bool]) -> None:
        self.app = app
        self.table = table

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in {"http", "websocket"}:
            path = declared_form(scope["path"], self.table)
            if path != scope["path"]:
                scope = {**scope, "path": path, "raw_path": path.encode()}
        await self.app(scope, receive, send)
