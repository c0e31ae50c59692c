"""Optimistic locking: entity tags of resources with a ``version``, such as ``"7"``.

They guard edits and do not identify the bytes, so there is no 304: a delivery's response also shows where its
vehicle is, which changes without a new version.
"""

import re
from collections.abc import Container
from typing import Annotated

from fastapi import Depends, Header, Response

from core.errors import InvalidValue

_TAG = re.compile(r'\s*(W/)?"([\x21\x23-\x7e]*)"\s*', re.ASCII)
_VERSION = re.compile(r"[1-9]\d{0,9}", re.ASCII)


def tag(response: Response, version: int) -> None:
    response.headers["ETag"] = f'"{version}"'


def versions_of(if_match: str | None) -> Container[int] | None:
    """Return the versions that If-Match allows; None means any. Raises `InvalidValue` for a malformed header.

    A weak tag never matches here (RFC 9110, 13.1.1), nor does a tag that this API never issued.
    """
    if if_match is None or if_match.strip() == "*":
        return None
    tags = [_TAG.fullmatch(part) for part in if_match.split(",")]
    found = [match.groups() for match in tags if match is not None]
    if len(found) != len(tags):
        raise InvalidValue("If-Match", 'must be *, or entity tags in double quotes, as in "7"')
    return {int(opaque) for weak, opaque in found if not weak and _VERSION.fullmatch(opaque)}


async def if_match(
    value: Annotated[
        str | None,
        Header(
            alias="If-Match",
            max_length=1000,
            description="Do it only at this version (an `ETag` of the delivery, or `*`), else 412",
        ),
    ] = None,
) -> Container[int] | None:
    return versions_of(value)


IfMatch = Annotated[Container[int] | None, Depends(if_match)]
