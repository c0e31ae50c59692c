"""The same path with and without its trailing slash: rewritten, not redirected, so no POST loses its body."""

from collections.abc import Iterable, Mapping

from starlette.types import ASGIApp, Receive, Scope, Send


def slash_table(paths: Iterable[str]) -> dict[str, bool]:
    """For each first segment whether its routes end with a slash. Raises when they differ."""
    table: dict[str, bool] = {}
    for path in paths:
        segment, is_slashed = _first_segment(path), path.endswith("/")
        if table.setdefault(segment, is_slashed) != is_slashed:
            raise ValueError(f"routes below /{segment} must agree on the trailing slash: {path}")
    return table


def declared_form(path: str, table: Mapping[str, bool]) -> str:
    """The path as its route was declared; one below no known first segment stays as it is."""
    is_slashed = table.get(_first_segment(path))
    if is_slashed is None or path.endswith("/") == is_slashed:
        return path
    return f"{path}/" if is_slashed else path.removesuffix("/")


def _first_segment(path: str) -> str:
    return path.removeprefix("/").partition("/")[0]


class Slashes:
    """ASGI middleware, for HTTP and WebSockets."""

    def __init__(self, app: ASGIApp, table: Mapping[str, bool]) -> None:
        self.app = app
        self.table = table

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in {"http", "websocket"}:
            path = declared_form(scope["path"], self.table)
            if path != scope["path"]:
                scope = {**scope, "path": path, "raw_path": path.encode()}
        await self.app(scope, receive, send)
