"""Re-encode the pictures of a proof so that only their pixels are kept. Pure.

EXIF, GPS, comments, colour profiles, further frames and data appended to the picture are dropped. Slow (a
second) and memory-hungry (up to 190 MiB): callers run few at once, and never on an event loop.
"""

import hashlib
from io import BytesIO

import msgspec
from PIL import Image, ImageFile, UnidentifiedImageError

from core.deliveries.proofs import ink
from core.errors import DomainError, InvalidValue
from core.rules.enums import ImageKind

MAXIMUM_BYTES = 2 * 1024 * 1024
# Cameras send JPEG; the other formats are always decoded in full, some of them twice.
MAXIMUM_PIXELS = {"JPEG": 25_000_000, "PNG": 12_000_000, "WEBP": 12_000_000}
# Each scan of a progressive JPEG costs a pass over all pixels, however small it is; cameras make about ten.
MAXIMUM_SCANS = 50
# (longest edge in pixels, JPEG quality). The first step that fits into `MAXIMUM_BYTES` is used; the last
# always fits.
PHOTO_STEPS = ((2048, 85), (2048, 70), (1600, 60), (1024, 60))
# In greyscale this is less than `MAXIMUM_BYTES` even without compression.
SIGNATURE_EDGE = 1200
MODES = frozenset({"1", "L", "LA", "P", "RGB", "RGBA"})
BLANK = {
    ImageKind.PHOTO: "is blank: all of it has one colour; take the photo again",
    ImageKind.SIGNATURE: "is blank: nothing is drawn on it; let the recipient sign again",
}
ORIENTATION = 0x0112
TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class ImageTooLarge(DomainError):
    status_code = 413
    title = "A picture is too large"

    def __init__(self, field: str) -> None:
        detail = f"{field}: a picture has at most 2 MiB ({MAXIMUM_BYTES} bytes)"
        super().__init__(detail, errors=[{"field": field, "message": detail}])


class Picture(msgspec.Struct, frozen=True):
    """``sha256`` is of ``content``, ``source_sha256`` of the upload; ``width`` and ``height`` in pixels."""

    kind: ImageKind
    content: bytes
    media_type: str
    width: int
    height: int
    sha256: bytes
    source_sha256: bytes


def reencode(kind: ImageKind, data: bytes, field: str) -> Picture:
    """Re-encode a photo as JPEG, a signature as greyscale PNG on white.

    Raises `ImageTooLarge`, `InvalidValue`. A blank picture is refused, because it proves nothing.
    """
    if len(data) > MAXIMUM_BYTES:
        raise ImageTooLarge(field)
    image = _decoded(kind, data, field)
    is_photo = kind is ImageKind.PHOTO
    if ink.is_blank_photo(image) if is_photo else ink.is_blank_signature(image):
        raise InvalidValue(field, BLANK[kind])
    content, media_type, size = _photo(image) if is_photo else _signature(image)
    digests = hashlib.sha256(content).digest(), hashlib.sha256(data).digest()
    return Picture(kind, content, media_type, *size, *digests)


def _decoded(kind: ImageKind, data: bytes, field: str) -> Image.Image:
    """Return an upright, opaque copy within the kind's longest edge, without the upload's metadata."""
    edge = PHOTO_STEPS[0][0] if kind is ImageKind.PHOTO else SIGNATURE_EDGE
    name = _format(data)
    if name is None:
        raise InvalidValue(field, "must be a JPEG, PNG or WebP picture, whatever its name says")
    # Importing WeasyPrint enables this for the whole process, and a truncated picture would be accepted.
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        with Image.open(BytesIO(data), formats=[name]) as file:
            _require_usable(file, name, data, field)
            transposition = TRANSPOSITIONS.get(_orientation(file))
            # Converted before downscaling, which would mix a transparent colour with its neighbours.
            is_mixed = file.mode in {"1", "P", "LA"} or "transparency" in file.info
            image = file.convert("RGBA") if is_mixed else file
            image.thumbnail((edge, edge))
            upright = image if transposition is None else image.transpose(transposition)
            return _on_white(upright) if kind is ImageKind.PHOTO else ink.on_paper(upright)
    except (InvalidValue, MemoryError):
        raise
    except Exception as error:  # a decoder can raise anything for untrusted bytes
        raise InvalidValue(field, f"cannot be read as a picture: {_first_line(error)}") from None


def _format(data: bytes) -> str | None:
    """Detect the format by its first bytes; file name and Content-Type are not trusted."""
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    return "WEBP" if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else None


def _require_usable(image: Image.Image, name: str, data: bytes, field: str) -> None:
    """Check size, frames, mode and scans before a pixel is decoded."""
    width, height = image.size
    if width * height > (most := MAXIMUM_PIXELS[name]):
        raise InvalidValue(field, f"has {width} x {height} pixels; of a {name} at most {most} are taken")
    # A JPEG of several pictures (MPO) comes from a camera: the first one is the photo.
    if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:
        raise InvalidValue(field, "must not be animated")
    if image.mode not in MODES:
        raise InvalidValue(field, f"must be grey or RGB with 8 bits a colour, not {image.mode}")
    if image.format in {"JPEG", "MPO"} and data.count(b"\xff\xda") > MAXIMUM_SCANS:
        raise InvalidValue(field, "has too many scans")


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation; unreadable EXIF counts as upright."""
    try:
        found = image.getexif().get(ORIENTATION)
    except Exception:
        return 1
    return found if isinstance(found, int) else 1


def _on_white(image: Image.Image) -> Image.Image:
    flattened = Image.new("RGB", image.size, "white")
    flattened.paste(image, mask=image.getchannel("A") if image.mode == "RGBA" else None)
    return flattened


def _photo(image: Image.Image) -> tuple[bytes, str, tuple[int, int]]:
    content = b""
    for edge, quality in PHOTO_STEPS:
        image.thumbnail((edge, edge))
        content = _saved(image, "JPEG", quality=quality)
        if len(content) <= MAXIMUM_BYTES:
            break
    return content, "image/jpeg", image.size


def _signature(image: Image.Image) -> tuple[bytes, str, tuple[int, int]]:
    return _saved(image, "PNG", optimize=False), "image/png", image.size


def _saved(image: Image.Image, name: str, **options: int | bool) -> bytes:
    out = BytesIO()
    image.save(out, name, **options)
    return out.getvalue()


def _first_line(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):  # its message contains a memory address
        return "it is damaged"
    return str(error).partition("\n")[0][:200] or type(error).__name__
