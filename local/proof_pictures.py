"""A made-up photo and signature: for the demo's drivers, and in `docs/samples` for the README.

`python -m local.proof_pictures docs/samples` writes both.
"""

import io
import sys
from math import cos, sin
from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter

STROKES = 3


def door() -> bytes:
    """Return a JPEG: two boxes before a front door, grainy as a phone's photo in the evening."""
    image = Image.new("RGB", (960, 720), "#c9c2b4")
    draw = ImageDraw.Draw(image)
    _wall(draw)
    _door(draw)
    for box in ((250, 500, 190, 140), (300, 400, 130, 100)):
        _box(draw, *box)
    lit = Image.blend(image, Image.radial_gradient("L").resize(image.size).convert("RGB"), 0.18)
    grain = Image.effect_noise(image.size, 24).convert("RGB")
    photo = Image.blend(lit.filter(ImageFilter.GaussianBlur(1.2)), grain, 0.08)
    return _written(photo, "JPEG", quality=72)


def signature() -> bytes:
    """Return a PNG: a scrawl in dark ink on white."""
    image = Image.new("L", (900, 300), 255)
    draw = ImageDraw.Draw(image)
    for stroke in range(STROKES):
        points = [_pen(stroke, step / 120) for step in range(121)]
        draw.line(points, fill=35, width=6 - stroke, joint="curve")
    draw.line([(120, 235), (480, 222), (790, 206)], fill=50, width=4)
    return _written(image.filter(ImageFilter.GaussianBlur(0.8)), "PNG", optimize=True)


def main() -> None:
    folder = Path(sys.argv[1])
    (folder / "door.jpg").write_bytes(door())
    (folder / "signature.png").write_bytes(signature())


def _pen(stroke: int, part: float) -> tuple[float, float]:
    """Return the pen's place after ``part`` (0 to 1) of a stroke."""
    x = 110 + 230 * stroke + 250 * part + 24 * sin(part * 30 + stroke)
    y = 150 - 70 * cos(part * (17 + 5 * stroke)) * (1 - 0.6 * part) + 12 * sin(part * 41)
    return x, y


def _wall(draw: ImageDraw.ImageDraw) -> None:
    for row, y in enumerate(range(0, 600, 40)):
        for x in range(-90 if row % 2 else -45, 960, 90):
            shade = 150 + (x * 7 + y * 13) % 30
            draw.rectangle((x, y, x + 86, y + 36), fill=(shade, shade - 42, shade - 64))
    draw.rectangle((0, 600, 960, 720), fill="#7c766c")


def _door(draw: ImageDraw.ImageDraw) -> None:
    draw.rectangle((460, 80, 760, 610), fill="#2f3f36", outline="#d8d2c4", width=14)
    for top, bottom in ((120, 320), (350, 570)):
        draw.rectangle((500, top, 600, bottom), fill="#38493f", outline="#25332b", width=5)
        draw.rectangle((622, top, 722, bottom), fill="#38493f", outline="#25332b", width=5)
    draw.ellipse((724, 338, 746, 360), fill="#c9a44c")
    draw.text((590, 92), "12", fill="#e8dfc8", font_size=24)


def _box(draw: ImageDraw.ImageDraw, x: int, y: int, width: int, height: int) -> None:
    draw.rectangle((x, y, x + width, y + height), fill="#b08a5a", outline="#7d6040", width=4)
    draw.rectangle((x + width * 0.44, y, x + width * 0.56, y + height), fill="#cdb58b")
    draw.rectangle((x + 12, y + 14, x + width * 0.36, y + height * 0.4), fill="#efece4")


def _written(image: Image.Image, kind: str, **options: int) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


if __name__ == "__main__":
    main()
