"""A driver's proof of delivery, where the company requires one: proof and status in one form."""

import secrets
from collections.abc import Collection, Iterable
from concurrent.futures import Future
from functools import cache
from typing import NamedTuple, Protocol

from core.rules.enums import ProofPart, Status
from local import proof_pictures
from local.demo.errands import Errands
from local.demo.rest import Rest

RECIPIENT = "Rita Recipient"


class FormPart(NamedTuple):
    """A part of a form; with a file name it is a file."""

    name: str
    content: bytes
    file_name: str | None = None
    content_type: str | None = None


class Prover(Protocol):
    def prove(self, delivery_id: int, missing: Collection[str]) -> Future[str]:
        """Report a delivery with its proof. The future is like a `Reporter`'s."""


class RestProver:
    def __init__(self, rest: Rest, errands: Errands) -> None:
        self._rest = rest
        self._errands = errands

    def prove(self, delivery_id: int, missing: Collection[str]) -> Future[str]:
        return self._errands.send(lambda: self._post(delivery_id, missing))

    def _post(self, delivery_id: int, missing: Collection[str]) -> str:
        status = Status.DELIVERED.value
        body, content_type = form([*proof_parts(missing), FormPart("status", status.encode())])
        self._rest.send(f"/deliveries/{delivery_id}/proofs/", body, content_type)
        return status


def proof_parts(missing: Collection[str]) -> list[FormPart]:
    """Return what a driver adds for each missing part of the proof. Raises `KeyError` for an unknown part."""
    return [_parts()[name] for name in missing]


def form(parts: Iterable[FormPart]) -> tuple[bytes, str]:
    """Encode ``parts`` as multipart/form-data: the body and its Content-Type."""
    boundary = secrets.token_hex(16)
    body = b"".join(_encoded(part, boundary) for part in parts) + f"--{boundary}--\r\n".encode()
    return body, f"multipart/form-data; boundary={boundary}"


@cache
def _parts() -> dict[str, FormPart]:
    """Return the sample parts, drawn once."""
    return {
        ProofPart.PHOTO: FormPart("photos", proof_pictures.door(), "door.jpg", "image/jpeg"),
        ProofPart.SIGNATURE: FormPart("signature", proof_pictures.signature(), "signature.png", "image/png"),
        ProofPart.RECIPIENT_NAME: FormPart("recipient_name", RECIPIENT.encode()),
    }


def _encoded(part: FormPart, boundary: str) -> bytes:
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="{part.name}"'
    if part.file_name is not None:
        head += f'; filename="{part.file_name}"\r\nContent-Type: {part.content_type}'
    return f"{head}\r\n\r\n".encode() + part.content + b"\r\n"
