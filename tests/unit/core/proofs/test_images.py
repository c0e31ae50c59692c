"""Pictures of a proof, painted anew: only pixels are left, and what is no plain picture is refused."""

import hashlib

import pytest
from PIL import Image

from core.deliveries.proofs.images import MAXIMUM_BYTES, ImageTooLarge, Picture, reencode
from core.errors import DomainError, InvalidValue
from core.rules.enums import ImageKind
from tests.support import pictures

REFUSED = {
    "svg": (pictures.SVG, "must be a JPEG"),
    "html": (pictures.HTML, "must be a JPEG"),
    "nothing": (b"", "must be a JPEG"),
    "gif": (pictures.animated("GIF"), "must be a JPEG"),
    "pdf": (b"%PDF-1.7" + pictures.jpeg(), "must be a JPEG"),
    "tiff": (pictures.saved(Image.new("RGB", (4, 4)), "TIFF"), "must be a JPEG"),
    "animated webp": (pictures.animated("WEBP"), "animated"),
    "animated png": (pictures.animated("PNG"), "animated"),
    "bomb": (pictures.bomb_png(), "pixels"),
    "bomb below Pillow's own limit": (pictures.bomb_png(4000, 3001), "4000 x 3001 pixels"),
    "scans": (pictures.scan_bomb(), "too many scans"),
    "16 bits": (pictures.png(mode="I;16"), "8 bits"),
    "cmyk": (pictures.saved(Image.new("CMYK", (4, 4)), "JPEG"), "RGB"),
    "truncated jpeg": (pictures.noise(64, 90)[:2000], "cannot be read"),
    "truncated png": (pictures.png(400, 400)[:-40], "cannot be read"),
    "head only": (pictures.jpeg()[:20], "cannot be read"),
    "signature bytes only": (b"\x89PNG\r\n\x1a\n" + pictures.HTML, "cannot be read"),
    "riff of html": (b"RIFF\x00\x00\x00\x00WEBP" + pictures.HTML, "cannot be read"),
}


def reencoded(data: bytes, kind: ImageKind = ImageKind.PHOTO) -> tuple[Picture, Image.Image]:
    picture = reencode(kind, data, "photos.0")
    image = pictures.opened(picture.content)
    assert (picture.width, picture.height) == image.size
    assert picture.sha256 == hashlib.sha256(picture.content).digest()
    assert picture.source_sha256 == hashlib.sha256(data).digest()
    assert len(picture.content) <= MAXIMUM_BYTES
    return picture, image


def assert_bare(picture: Picture, image: Image.Image) -> None:
    for mark in (pictures.GPS_MARK, pictures.SCRIPT, b"Exif", b"exif", b"tEXt", b"zTXt", b"script"):
        assert mark not in picture.content, mark
    assert not image.getexif()
    assert not image.info.keys() & {"comment", "Comment", "Place", "icc_profile", "exif", "xmp"}


def test_the_place_and_the_comment_of_a_photo_are_gone() -> None:
    source = pictures.located_jpeg()
    assert pictures.GPS_MARK in source
    assert pictures.SCRIPT in source
    picture, image = reencoded(source)
    assert picture.media_type == "image/jpeg"
    assert_bare(picture, image)


def test_the_texts_of_a_png_are_gone() -> None:
    source = pictures.talking_png()
    assert pictures.opened(source).info["Place"] == pictures.GPS_MARK.decode()
    assert_bare(*reencoded(source))
    assert_bare(*reencoded(source, ImageKind.SIGNATURE))


def test_what_follows_a_picture_is_gone() -> None:
    webp = pictures.saved(pictures.drawn(Image.new("RGB", (9, 9))), "WEBP")
    for source in (pictures.jpeg(), pictures.png(), webp):
        picture, _ = reencoded(source + pictures.HTML + b"PK\x03\x04")
        assert b"script" not in picture.content
        assert b"PK\x03\x04" not in picture.content


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_stands_upright(orientation: int) -> None:
    """As any viewer would show it: red is where the camera's left was."""
    _, image = reencoded(pictures.located_jpeg(orientation))
    assert image.size == ((40, 30) if orientation < 5 else (30, 40))
    width, height = image.size
    ends = {
        "left": (2, height // 2),
        "right": (width - 3, height // 2),
        "top": (width // 2, 2),
        "bottom": (width // 2, height - 3),
    }
    red_is = {1: "left", 2: "right", 3: "right", 4: "left", 5: "top", 6: "top", 7: "bottom", 8: "bottom"}
    seen = {name: image.getpixel(place) for name, place in ends.items()}
    red = seen[red_is[orientation]]
    assert isinstance(red, tuple)
    assert red[0] > 200, seen
    assert red[2] < 60, seen


def test_broken_exif_is_no_reason_to_refuse() -> None:
    source = pictures.jpeg(exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff broken")
    _, image = reencoded(source)
    assert image.size == (40, 30)


def test_a_camera_s_jpeg_of_several_pictures_is_its_first() -> None:
    first, second = (pictures.drawn(Image.new("RGB", (40, 30), color)) for color in ("red", "blue"))
    source = pictures.saved(first, "MPO", save_all=True, append_images=[second])
    picture, image = reencoded(source)
    assert image.getpixel((5, 5))[0] > 200  # type: ignore[index]
    assert b"MPF" not in picture.content


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
@pytest.mark.parametrize("kind", ImageKind)
def test_every_plain_mode_is_taken(mode: str, kind: ImageKind) -> None:
    _, image = reencoded(pictures.png(mode=mode), kind)
    assert image.mode == ("RGB" if kind is ImageKind.PHOTO else "L")


def test_a_signature_is_grey_on_white() -> None:
    picture, image = reencoded(pictures.signature(), ImageKind.SIGNATURE)
    assert picture.media_type == "image/png"
    assert (image.mode, image.getpixel((1, 1)), image.getpixel((30, 6))) == ("L", 255, 0)


def test_a_transparent_palette_is_flattened_on_white() -> None:
    image = Image.new("P", (8, 8), 0)
    image.putpalette([0, 0, 0, 255, 0, 0])
    image.paste(1, (0, 0, 8, 2))
    _, shown = reencoded(pictures.saved(image, "PNG", transparency=0), ImageKind.SIGNATURE)
    assert shown.getpixel((4, 4)) == 255


def test_edges_are_bounded() -> None:
    assert reencoded(pictures.jpeg(4000, 3000))[1].size == (2048, 1536)
    assert reencoded(pictures.png(3000, 10), ImageKind.SIGNATURE)[1].size == (1200, 4)


def test_what_compresses_badly_becomes_smaller() -> None:
    source = pictures.noise(2048, 50)
    assert len(source) <= MAXIMUM_BYTES
    assert reencoded(source)[1].size == (1600, 1600)


def test_two_mebibytes_are_taken_and_one_byte_more_is_not() -> None:
    source = pictures.jpeg()
    reencoded(source + bytes(MAXIMUM_BYTES - len(source)))
    with pytest.raises(ImageTooLarge) as refused:
        reencode(ImageKind.PHOTO, source + bytes(MAXIMUM_BYTES - len(source) + 1), "photos.1")
    assert refused.value.status_code == 413
    assert refused.value.facts["errors"][0]["field"] == "photos.1"


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("kind", ImageKind)
def test_what_is_no_plain_picture_is_refused(name: str, kind: ImageKind) -> None:
    data, why = REFUSED[name]
    with pytest.raises(InvalidValue, match=why) as refused:
        reencode(kind, data, "signature")
    error: DomainError = refused.value
    assert error.facts["errors"][0]["field"] == "signature"
    assert " at 0x" not in str(error)
