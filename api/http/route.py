"""The route classes of the API: FastAPI's handler inside a visible list of wrappings."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from fastapi.routing import APIRoute

from api.dependencies import Handler, token_first
from api.fast_path.handler import require_bindable, take_fast_path
from api.http import idempotency
from api.http.body_limits import few_values

Wrapping = Callable[[APIRoute, Handler], Handler]


class OpenRoute(APIRoute):
    """A route without authentication: its wrappings, innermost first."""

    wrappings: ClassVar[Sequence[Wrapping]] = (few_values,)

    def get_route_handler(self) -> Handler:
        handler = super().get_route_handler()
        for wrap in self.wrappings:
            handler = wrap(self, handler)
        return handler


class ApiRoute(OpenRoute):
    """A route of users and integrations; its authorised POSTs take an ``Idempotency-Key``."""

    wrappings: ClassVar[Sequence[Wrapping]] = (idempotency.once, few_values, token_first, take_fast_path)

    def __init__(
        self,
        path: str,
        endpoint: Callable[..., Any],
        *,
        methods: set[str] | list[str] | None = None,
        dependencies: list[Any] | None = None,
        **options: Any,
    ) -> None:
        require_bindable(inspect.unwrap(endpoint))  # now, not at the first request
        if "POST" in (methods or ()):
            endpoint, dependencies = idempotency.with_key(endpoint, dependencies or [])
        super().__init__(path, endpoint, methods=methods, dependencies=dependencies, **options)
