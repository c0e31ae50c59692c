"""Pictures as phones and rogues make them."""

import random
import struct
import zlib
from io import BytesIO
from typing import Any

from PIL import Image, ImageDraw, PngImagePlugin

GPS_MARK = b"Torre de Belem"
SCRIPT = b"<script>alert(1)</script>"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
HTML = b"<!doctype html><script>alert(1)</script>"


def saved(image: Image.Image, name: str, **options: Any) -> bytes:
    out = BytesIO()
    image.save(out, name, **options)
    return out.getvalue()


def jpeg(width: int = 40, height: int = 30, color: str = "red", **options: Any) -> bytes:
    return saved(drawn(Image.new("RGB", (width, height), color)), "JPEG", **options)


def png(width: int = 40, height: int = 30, mode: str = "RGB", **options: Any) -> bytes:
    return saved(drawn(Image.new(mode, (width, height))), "PNG", **options)


def drawn(image: Image.Image) -> Image.Image:
    """With something on it in its middle, for a blank picture is refused."""
    width, height = image.size
    ink: Any = {"RGB": (90, 90, 200), "RGBA": (90, 90, 200, 255), "LA": (90, 255), "1": 1}.get(image.mode, 90)
    if image.mode == "P":
        image.putpalette([grey for grey in range(256) for _ in range(3)])
    image.paste(ink, (width // 3, height // 3, width - width // 3, height - height // 3))
    return image


def signature() -> bytes:
    """A black stroke on nothing."""
    image = Image.new("RGBA", (60, 20), (0, 0, 0, 0))
    image.paste((0, 0, 0, 255), (10, 5, 50, 8))
    return saved(image, "PNG")


def inked(ink: Any, ground: Any = (0, 0, 0, 0), mode: str = "RGBA") -> Image.Image:
    """A canvas as a phone's, with a scrawl of three strokes."""
    image = Image.new(mode, (300, 100), ground)
    draw = ImageDraw.Draw(image)
    for points in ([(30, 70), (80, 20), (110, 80)], [(110, 60), (170, 30), (210, 75)], [(60, 85), (260, 80)]):
        draw.line(points, fill=ink, width=3)
    return image


def noise(edge: int, quality: int) -> bytes:
    pixels = random.Random(4).randbytes(edge * edge * 3)
    return saved(Image.frombytes("RGB", (edge, edge), pixels), "JPEG", quality=quality)


def located_jpeg(orientation: int = 1, width: int = 40, height: int = 30) -> bytes:
    """With EXIF: where it was taken, how the camera was held; and a comment. Red on the left, blue right."""
    image = Image.new("RGB", (width, height), "red")
    image.paste("blue", (width // 2, 0, width, height))
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010E] = GPS_MARK.decode()
    exif.get_ifd(0x8825).update({1: "N", 2: (38.0, 41.0, 30.0), 3: "W", 4: (9.0, 12.0, 57.0)})
    return saved(image, "JPEG", exif=exif, comment=SCRIPT, quality=95)


def talking_png() -> bytes:
    """With text, compressed text, and EXIF."""
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", SCRIPT.decode())
    info.add_text("Place", GPS_MARK.decode(), zip=True)
    exif = Image.Exif()
    exif[0x010E] = GPS_MARK.decode()
    return png(pnginfo=info, exif=exif)


def bomb_png(width: int = 30_000, height: int = 30_000) -> bytes:
    """Some kilobytes that say they are gigabytes."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(1_000_000))
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", body) + _chunk(b"IEND", b"")


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def scan_bomb() -> bytes:
    """A progressive JPEG whose last scan is repeated a thousand times."""
    whole = jpeg(progressive=True)
    last = whole[whole.rindex(b"\xff\xda") : -2]
    return whole[:-2] + last * 1000 + whole[-2:]


def animated(name: str) -> bytes:
    frames = [Image.new("RGB", (20, 20), color) for color in ("red", "green", "blue")]
    return saved(frames[0], name, save_all=True, append_images=frames[1:], duration=100)


def opened(content: bytes) -> Image.Image:
    image = Image.open(BytesIO(content))
    image.load()
    return image
