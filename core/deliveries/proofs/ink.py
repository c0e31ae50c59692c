"""Whether a picture shows something, and how a signature's ink is found. Pure.

Phones in dark mode draw signatures in white ink on transparency: on white paper nothing is left of them.
Their ink is in the alpha channel, whatever its colour.
"""

from PIL import Image, ImageOps

# Of 255. JPEG's noise on a blank canvas stays within the first; light ink is lighter than the last.
NOISE = 16
LIGHT, DARK = 192, 128
# Less than a pen's dot: a pixel or two are a slip or a fault, which nobody sees on paper either.
LEAST_INK = 4
# Shares of the visible pixels, but the first: of the whole canvas.
SHEET = 0.8  # what covers more is paper, not strokes
SOME_LIGHT = 0.02
SOME_DARK = 0.001
BOX = 0.6  # of its bounding box; strokes fill less
# What JPEG and WebP make of one colour stays within it; a camera's noise in the dark does not.
PHOTO_NOISE = 4


def on_paper(image: Image.Image) -> Image.Image:
    """Return a signature (RGB, L or RGBA) in grey on a new image: dark ink on white, if opaque as it is."""
    paper, grey = Image.new("L", image.size, 255), image.convert("L")
    alpha = image.getchannel("A") if image.mode == "RGBA" else None
    if alpha is not None and _is_light_ink(grey, alpha):
        paper.paste(ImageOps.invert(ImageOps.autocontrast(alpha)))
    else:
        paper.paste(grey, mask=alpha)
    return paper


def is_blank_signature(grey: Image.Image) -> bool:
    """Whether hardly a pixel differs from the paper, which is what most pixels look like."""
    histogram = grey.histogram()
    paper = max(range(256), key=histogram.__getitem__)
    around = histogram[max(paper - NOISE, 0) : paper + NOISE + 1]
    return sum(histogram) - sum(around) < LEAST_INK


def is_blank_photo(image: Image.Image) -> bool:
    """Whether all pixels are equally bright."""
    return _contrast(image.convert("L")) <= PHOTO_NOISE


def _extrema(band: Image.Image) -> tuple[int, int]:
    found: tuple[int, int] = band.getextrema()  # type: ignore[assignment]
    return found


def _contrast(band: Image.Image) -> int:
    lowest, highest = _extrema(band)
    return highest - lowest


def _is_light_ink(grey: Image.Image, alpha: Image.Image) -> bool:
    """Whether light strokes lie on transparency, and not a sheet of light paper."""
    if _contrast(alpha) <= NOISE:
        return False
    middle = sum(_extrema(alpha)) / 2
    visible = alpha.point([255 if value > middle else 0 for value in range(256)])
    box = visible.getbbox() or (0, 0, 0, 0)
    seen = grey.histogram(visible)
    total = sum(seen)
    if total > SHEET * grey.width * grey.height or sum(seen[LIGHT:]) < SOME_LIGHT * total:
        return False
    is_box = total >= BOX * (box[2] - box[0]) * (box[3] - box[1])
    return not (is_box and sum(seen[:DARK]) >= SOME_DARK * total)
