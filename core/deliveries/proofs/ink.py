"""Detect blank pictures, and find a signature's ink. Pure.

Phones in dark mode draw signatures in white ink on transparency, which would be invisible on white paper.
Their ink is in the alpha channel, whatever its colour.
"""

from PIL import Image, ImageOps

# Brightness levels of 255. JPEG noise on a blank canvas stays within NOISE; light ink is at least LIGHT.
NOISE = 16
LIGHT, DARK = 192, 128
# Pixels, less than a pen's dot: one or two are a slip or a fault, and invisible on paper too.
LEAST_INK = 4
# Shares of the visible pixels, except SHEET, which is a share of the whole canvas.
SHEET = 0.8  # anything that covers more is paper, not strokes
SOME_LIGHT = 0.02
SOME_DARK = 0.001
BOX = 0.6  # share of the bounding box; strokes fill less
# Compression noise of JPEG and WebP in one colour stays within it; a camera's noise in the dark does not.
PHOTO_NOISE = 4


def on_paper(image: Image.Image) -> Image.Image:
    """Return a signature (RGB, L or RGBA) as a new grey image: dark ink on white; opaque ones unchanged."""
    paper, grey = Image.new("L", image.size, 255), image.convert("L")
    alpha = image.getchannel("A") if image.mode == "RGBA" else None
    if alpha is not None and _is_light_ink(grey, alpha):
        paper.paste(ImageOps.invert(ImageOps.autocontrast(alpha)))
    else:
        paper.paste(grey, mask=alpha)
    return paper


def is_blank_signature(grey: Image.Image) -> bool:
    """Return whether almost no pixel differs from the paper, which is the most frequent brightness."""
    histogram = grey.histogram()
    paper = max(range(256), key=histogram.__getitem__)
    around = histogram[max(paper - NOISE, 0) : paper + NOISE + 1]
    return sum(histogram) - sum(around) < LEAST_INK


def is_blank_photo(image: Image.Image) -> bool:
    """Return whether all pixels are equally bright."""
    return _contrast(image.convert("L")) <= PHOTO_NOISE


def _extrema(band: Image.Image) -> tuple[int, int]:
    found: tuple[int, int] = band.getextrema()  # type: ignore[assignment]
    return found


def _contrast(band: Image.Image) -> int:
    lowest, highest = _extrema(band)
    return highest - lowest


def _is_light_ink(grey: Image.Image, alpha: Image.Image) -> bool:
    """Return whether light strokes lie on transparency, rather than a sheet of light paper."""
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
