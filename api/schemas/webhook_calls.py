"""The bodies of webhook calls for the OpenAPI document, made from the structs that the sender encodes."""

from functools import cache
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
from pydantic import BaseModel, Field, create_model

from core.notifications.events import NotificationEvent
from core.notifications.webhooks.contract import WebhookBody


def body_of(event: type[NotificationEvent]) -> type[BaseModel]:
    """Return the model of a call that reports this event."""
    known = {"type": Literal[event.kind], "data": model_of(event)}
    return _model(f"{event.__name__}Call", event.__doc__, _fields(WebhookBody) | known)


@cache
def model_of(struct: type[msgspec.Struct]) -> type[BaseModel]:
    """Return a model with the struct's fields; structs among them become models too."""
    return _model(struct.__name__, struct.__doc__, _fields(struct))


def _model(name: str, doc: str | None, fields: dict[str, Any]) -> type[BaseModel]:
    required: dict[str, Any] = {field: (kind, ...) for field, kind in fields.items()}
    return create_model(name, __doc__=doc, **required)


def _fields(struct: type[msgspec.Struct]) -> dict[str, Any]:
    hints = get_type_hints(struct, include_extras=True)
    return {name: _type(hints[name]) for name in struct.__struct_fields__}


def _type(hint: Any) -> Any:
    if get_origin(hint) is Annotated:
        inner, meta = get_args(hint)
        field = Field(
            description=meta.description, examples=meta.examples, json_schema_extra=meta.extra_json_schema
        )
        return Annotated[_type(inner), field]
    if get_origin(hint) in (Union, UnionType):
        return Union[tuple(_type(one) for one in get_args(hint))]  # noqa: UP007  # made at run time
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return model_of(hint)
    return hint
