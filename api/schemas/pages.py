"""Pages of lists, and the query parameters of lists."""

from typing import Annotated, Generic, TypeVar

from pydantic import Field

from api.http.cursors import DEFAULT_LIMIT, MAXIMUM_LIMIT
from api.schemas.fields import Input, Output

Item = TypeVar("Item")


class Page(Output, Generic[Item]):
    """One page of a list. ``next`` is the cursor of the next page; null on the last."""

    items: list[Item]
    next: str | None


class PageQuery(Input):
    limit: Annotated[int, Field(ge=1, le=MAXIMUM_LIMIT)] = DEFAULT_LIMIT
    cursor: Annotated[str | None, Field(max_length=100, description="`next` of the page before")] = None
