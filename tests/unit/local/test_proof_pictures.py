"""The made-up pictures of a proof, drawn and shipped, are such as the API takes."""

from pathlib import Path

import pytest
from PIL import Image

from core.deliveries.proofs import images
from core.rules.enums import ImageKind, ProofPart
from local import proof_pictures
from local.demo.proving import FormPart, form, proof_parts
from tests.support.services.settings import PROJECT

SAMPLES = PROJECT / "docs" / "samples"
KINDS = {"door.jpg": ImageKind.PHOTO, "signature.png": ImageKind.SIGNATURE}


@pytest.mark.parametrize("name", KINDS)
def test_a_sample_is_a_small_picture_that_the_api_takes(name: str) -> None:
    data = (SAMPLES / name).read_bytes()
    picture = images.reencode(KINDS[name], data, "file")
    assert len(data) < 100_000
    assert min(picture.width, picture.height) >= 200


def test_the_samples_are_not_blank() -> None:
    for name in KINDS:
        dark, light = _extremes(SAMPLES / name)
        assert dark < 80, name
        assert light > 150, name


def test_the_drawn_pictures_are_taken_too() -> None:
    images.reencode(ImageKind.PHOTO, proof_pictures.door(), "photos")
    images.reencode(ImageKind.SIGNATURE, proof_pictures.signature(), "signature")


def test_a_demo_driver_has_every_part_a_company_may_ask_for() -> None:
    assert len(proof_parts([part.value for part in ProofPart])) == len(ProofPart)


def test_a_form_has_each_part_once_and_ends() -> None:
    body, content_type = form([FormPart("note", b"left"), *proof_parts(["photo"])])
    boundary = content_type.rpartition("=")[2].encode()
    assert body.count(b"--" + boundary) == 3
    assert body.endswith(b"--" + boundary + b"--\r\n")
    assert b'name="photos"; filename="door.jpg"\r\nContent-Type: image/jpeg\r\n\r\n\xff\xd8\xff' in body


def _extremes(path: Path) -> tuple[int, int]:
    """The darkest and the lightest grey of a picture."""
    with Image.open(path) as image:
        used = [grey for grey, count in enumerate(image.convert("L").histogram()) if count]
    return used[0], used[-1]
