"""A proof shows something: light ink is found in the alpha channel, and a blank picture is refused."""

import random
from typing import Any

import pytest
from PIL import Image, ImageDraw

from core.deliveries.proofs.images import reencode
from core.errors import InvalidValue
from core.rules.enums import ImageKind
from tests.support.pictures import inked, opened, saved, signature

WHITE, BLACK, NOTHING = (255, 255, 255, 255), (0, 0, 0, 255), (0, 0, 0, 0)
STROKE, PAPER = (140, 82), (5, 5)  # places on `inked`


def signed(image: Image.Image, name: str = "PNG", **options: Any) -> Image.Image:
    return opened(reencode(ImageKind.SIGNATURE, saved(image, name, **options), "signature").content)


def assert_reads_as_dark_on_white(shown: Image.Image) -> None:
    assert (shown.mode, shown.size) == ("L", (300, 100))
    assert_dark_on_white(shown)


def assert_dark_on_white(shown: Image.Image) -> None:
    ink, paper = shown.getpixel(STROKE), shown.getpixel(PAPER)
    assert isinstance(ink, int)
    assert isinstance(paper, int)
    assert ink < 100
    assert paper > 240


def palette_with_transparency() -> tuple[Image.Image, dict[str, Any]]:
    image = inked(1, 0, "P")
    image.putpalette([255, 255, 255, 255, 255, 255])
    return image, {"transparency": 0}


def grey_with_transparency() -> tuple[Image.Image, dict[str, Any]]:
    return inked(255, 0, "L"), {"transparency": 0}


def colour_with_transparency() -> tuple[Image.Image, dict[str, Any]]:
    return inked((255, 255, 255), (10, 20, 30), "RGB"), {"transparency": (10, 20, 30)}


LIGHT_INK: dict[str, tuple[Image.Image, str, dict[str, Any]]] = {
    "white on nothing": (inked(WHITE), "PNG", {}),
    "white on white nothing": (inked(WHITE, (255, 255, 255, 0)), "PNG", {}),
    "lossless webp": (inked(WHITE), "WEBP", {"lossless": True}),
    "lossy webp": (inked(WHITE), "WEBP", {"quality": 60}),
    "grey with alpha": (inked((255, 255), (0, 0), "LA"), "PNG", {}),
    "palette": (palette_with_transparency()[0], "PNG", palette_with_transparency()[1]),
    "transparent grey": (grey_with_transparency()[0], "PNG", grey_with_transparency()[1]),
    "transparent colour": (colour_with_transparency()[0], "PNG", colour_with_transparency()[1]),
    "yellow": (inked((255, 240, 120, 255)), "PNG", {}),
    "translucent": (inked((255, 255, 255, 90)), "PNG", {}),
    "on a translucent pad": (inked(WHITE, (255, 255, 255, 60)), "PNG", {}),
}


@pytest.mark.parametrize("name", LIGHT_INK)
def test_light_ink_on_transparency_becomes_dark_on_white(name: str) -> None:
    image, format_, options = LIGHT_INK[name]
    assert_reads_as_dark_on_white(signed(image, format_, **options))


@pytest.mark.parametrize("ink", [BLACK, (20, 30, 160, 255), (120, 0, 0, 255), (0, 90, 30, 255)])
@pytest.mark.parametrize("name", ["PNG", "WEBP"])
def test_dark_ink_on_transparency_stays_dark_on_white(ink: tuple[int, ...], name: str) -> None:
    assert_reads_as_dark_on_white(signed(inked(ink), name))


def test_large_canvas_keeps_its_thin_white_strokes() -> None:
    image = Image.new("RGBA", (3000, 1000), NOTHING)
    ImageDraw.Draw(image).line([(100, 100), (2900, 900), (200, 700)], fill=WHITE, width=2)
    histogram = signed(image).histogram()
    assert sum(histogram[:128]) > 500
    assert histogram[255] > 0.9 * 1200 * 400


@pytest.mark.parametrize("ink", [(255, 255, 255), (255, 255, 0)])
def test_opaque_dark_background_is_shown_as_it_is(ink: tuple[int, int, int]) -> None:
    shown = signed(inked(ink, (18, 18, 18), "RGB"), "JPEG", quality=95)
    ground, stroke = shown.getpixel(PAPER), shown.getpixel(STROKE)
    assert isinstance(ground, int)
    assert isinstance(stroke, int)
    assert ground < 30
    assert stroke > 200


def test_sheet_of_paper_with_transparent_margins_stays_paper() -> None:
    for margin in (2, 25):
        sheet = Image.new("RGBA", (300 + 2 * margin, 100 + 2 * margin), NOTHING)
        sheet.paste(inked(BLACK, WHITE), (margin, margin))
        shown = signed(sheet)
        assert_dark_on_white(shown.crop((margin, margin, 300 + margin, 100 + margin)))
        assert shown.getpixel((0, 0)) == 255


def test_white_dash_is_ink_and_a_dot_of_a_pen_too() -> None:
    for size in ((40, 3), (2, 2)):
        image = Image.new("RGBA", (300, 100), NOTHING)
        image.paste(WHITE, (100, 50, 100 + size[0], 50 + size[1]))
        assert signed(image).getpixel((100, 50)) == 0


def dotted(dot: tuple[int, ...], ground: tuple[int, ...]) -> Image.Image:
    image = Image.new("RGBA", (300, 100), ground)
    image.putpixel((150, 50), dot)
    return image


def noisy(level: int, spread: int) -> Image.Image:
    pixels = random.Random(4)
    data = bytes(level + pixels.randint(-spread, spread) for _ in range(300 * 100))
    return Image.frombytes("L", (300, 100), data)


BLANK: dict[str, tuple[Image.Image, str]] = {
    "nothing": (Image.new("RGBA", (300, 100), NOTHING), "PNG"),
    "colours beneath nothing": (inked((255, 0, 0, 0), (0, 0, 255, 0)), "PNG"),
    "white paper": (Image.new("RGB", (300, 100), "white"), "PNG"),
    "black paper": (Image.new("RGB", (300, 100), "black"), "JPEG"),
    "white on white": (inked(WHITE, WHITE), "PNG"),
    "hardly any alpha": (inked((0, 0, 0, 5)), "PNG"),
    "noise": (noisy(240, 6), "JPEG"),
    "one black pixel": (dotted(BLACK, WHITE), "PNG"),
    "one white pixel": (dotted(WHITE, NOTHING), "PNG"),
    "one pixel in all": (Image.new("L", (1, 1), 0), "PNG"),
}


@pytest.mark.parametrize("name", BLANK)
def test_blank_signature_is_refused(name: str) -> None:
    image, format_ = BLANK[name]
    # The colours beneath nothing are kept on the way.
    data = saved(image, format_, quality=80)
    with pytest.raises(InvalidValue, match="is blank: nothing is drawn on it") as refused:
        reencode(ImageKind.SIGNATURE, data, "signature")
    assert refused.value.status_code == 422
    assert refused.value.facts["errors"][0]["field"] == "signature"


@pytest.mark.parametrize("colour", ["black", "white", "#8090a0"])
@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP"])
def test_photo_of_one_colour_is_refused(colour: str, name: str) -> None:
    data = saved(Image.new("RGB", (640, 480), colour), name)
    with pytest.raises(InvalidValue, match="is blank: all of it has one colour") as refused:
        reencode(ImageKind.PHOTO, data, "photos.0")
    assert refused.value.facts["errors"][0]["field"] == "photos.0"


def test_photo_of_nothing_is_refused() -> None:
    with pytest.raises(InvalidValue, match="is blank"):
        reencode(ImageKind.PHOTO, saved(Image.new("RGBA", (40, 30), NOTHING), "PNG"), "photos.0")


@pytest.mark.parametrize("quality", [30, 60, 90])
def test_photo_at_night_is_taken(quality: int) -> None:
    """Black, but for a sensor's noise; or with one lamp far away."""
    pixels = random.Random(7)
    dark = Image.frombytes(
        "L", (640, 480), bytes(max(0, round(pixels.gauss(3, 3))) for _ in range(640 * 480))
    )
    lamp = Image.new("RGB", (2000, 1500), (2, 2, 3))
    lamp.paste((200, 180, 90), (1000, 700, 1006, 706))
    for image in (dark.convert("RGB"), lamp):
        assert (
            reencode(ImageKind.PHOTO, saved(image, "JPEG", quality=quality), "photos.0").kind
            is ImageKind.PHOTO
        )


def test_nothing_of_the_old_file_clings_to_a_signature() -> None:
    for image in (inked(WHITE), inked(0, 255, "L")):
        data = saved(image, "PNG", icc_profile=b"a secret profile", exif=b"Exif\0\0secret")
        picture = reencode(ImageKind.SIGNATURE, data, "signature")
        assert b"iCCP" not in picture.content
        assert b"eXIf" not in picture.content
        assert not opened(picture.content).info


def test_signature_of_other_tests_is_taken() -> None:
    assert signed(opened(signature())).getpixel((30, 6)) == 0
