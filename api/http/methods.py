"""List the methods of a path, for the ``Allow`` header of a 405."""

from collections.abc import Iterable

from starlette.routing import BaseRoute, Route, compile_path


class Methods:
    def __init__(self, routes: Iterable[BaseRoute]) -> None:
        self._routes = [
            (compile_path(route.path)[0], frozenset(route.methods or ()))
            for route in routes
            if isinstance(route, Route)
        ]

    def of(self, path: str) -> frozenset[str]:
        """Return all methods declared for this path, over all routes."""
        found = (methods for pattern, methods in self._routes if pattern.match(path))
        return frozenset().union(*found)
