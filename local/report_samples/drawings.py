"""Drawn pictures for a sample proof of delivery."""

import io
from math import cos, sin

from PIL import Image, ImageDraw


def signature() -> bytes:
    """Draw a signature."""
    image = Image.new("L", (600, 200), 255)
    points = [(60 + i * 1.6, 100 + 55 * sin(i / 11) * cos(i / 47) - i / 12) for i in range(300)]
    ImageDraw.Draw(image).line(points, fill=30, width=5, joint="curve")
    return _png(image)


def photo() -> bytes:
    """Draw a photo of boxes before a door."""
    image = Image.new("RGB", (640, 480), "#cfd6da")
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 380, 640, 480), fill="#8d8478")
    draw.rectangle((360, 60, 560, 380), fill="#5a4632", outline="#3b2d20", width=6)
    draw.ellipse((522, 215, 540, 233), fill="#d8b45a")
    for x, y, width, height in ((70, 290, 150, 120), (200, 320, 120, 95), (95, 200, 110, 90)):
        draw.rectangle((x, y, x + width, y + height), fill="#b98d5b", outline="#8c6840", width=4)
        draw.rectangle((x + width * 0.42, y, x + width * 0.56, y + height), fill="#d9c08f")
    return _png(image.quantize(32))


def _png(image: Image.Image) -> bytes:
    written = io.BytesIO()
    image.save(written, "PNG", optimize=True)
    return written.getvalue()
