"""The backup file: written under a temporary name, renamed when complete, readable by its owner only.

The manifest is the last member and has the SHA-256 of all others, so a truncated file is not a valid backup.
"""

import errno
import fcntl
import hashlib
import hmac
import os
import secrets
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import IO, Protocol

import msgspec

from core.errors import DomainError

FORMAT = 1
MANIFEST = "manifest.json"
BROKER = "mosquitto.db"
UNFINISHED = ".milepost-unfinished"
CHUNK = 1 << 20
# The fast level: the content (digits) compresses at once or not at all.
COMPRESSION_LEVEL = 1


# Reading a corrupt zip file can raise any of these: wrong versions, methods, lengths, passwords.
DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    KeyError,
    EOFError,
    OSError,
    ValueError,
    NotImplementedError,
    RuntimeError,
    OverflowError,
)


class Unusable(DomainError):
    """The file is not a backup, is incomplete, or does not fit this installation."""

    title = "The backup cannot be used"


class ArchiveMember(msgspec.Struct, frozen=True):
    """``size`` in bytes before compression; ``columns`` only for a table."""

    sha256: str
    size: int
    columns: list[str] = []


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """``keys`` are hashes that show whether the keys are the same. ``sequences``: last values.

    ``months`` are the first instants of the partitions of `position`. ``erased``: company's slug, customer's
    id.
    """

    format: int
    made_at: datetime
    revision: str
    keys: Mapping[str, str]
    members: Mapping[str, ArchiveMember]
    sequences: Mapping[str, int]
    months: list[datetime]
    erased: list[tuple[str, int]]


class Sink(Protocol):
    def write(self, data: bytes, /) -> int: ...


def key_mark(key: str) -> str:
    """Return a short HMAC that is equal for equal keys and useless for finding one, since keys are random."""
    return hmac.new(key.encode(), b"milepost backup", hashlib.sha256).hexdigest()[:16]


def member_of(table: str) -> str:
    return f"tables/{table}.copy"


class ArchiveWriter:
    """Write members one after the other; `finish` completes the backup."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self.members: dict[str, ArchiveMember] = {}

    @contextmanager
    def member(self, name: str, columns: list[str]) -> Iterator[Sink]:
        with self._archive.open(name, "w", force_zip64=True) as stream:
            counted = _Counted(stream)
            yield counted
        self.members[name] = ArchiveMember(counted.digest.hexdigest(), counted.size, columns)

    def copy(self, name: str, source: IO[bytes]) -> None:
        with self.member(name, []) as sink:
            while chunk := source.read(CHUNK):
                sink.write(chunk)

    def finish(self, manifest: Manifest) -> None:
        self._archive.writestr(MANIFEST, msgspec.json.format(msgspec.json.encode(manifest)))


class _Counted:
    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.digest = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes, /) -> int:
        self.digest.update(data)
        self.size += len(data)
        return self._stream.write(data)


@contextmanager
def writing(path: Path) -> Iterator[ArchiveWriter]:
    """Write a new backup, which appears at ``path`` only if the block succeeds. Raises `OSError`."""
    _require_free(path)
    _remove_left_over(path.parent)
    # A unique name: two writers of one file would both succeed, with a file that is neither's.
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}{UNFINISHED}")
    handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(handle, "wb") as file:
            with suppress(OSError):  # not every file system supports locks
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=COMPRESSION_LEVEL) as archive:
                yield ArchiveWriter(archive)
            file.flush()
            os.fsync(handle)
            _require_free(path)
            os.rename(unfinished, path)
    except BaseException:
        with suppress(FileNotFoundError):
            unfinished.unlink()
        raise


def _require_free(path: Path) -> None:
    if path.is_symlink() or path.exists():
        raise FileExistsError(errno.EEXIST, "is there already", str(path))


def _remove_left_over(folder: Path) -> None:
    """Delete leftovers of a killed backup: personal data that no other process would ever delete."""
    for left in folder.glob(f".*{UNFINISHED}"):
        with suppress(OSError):
            handle = os.open(left, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails while its writer is still alive
                left.unlink()
            finally:
                os.close(handle)


class ArchiveReader:
    """A backup whose manifest is complete; `verify` reads all of it."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self.manifest = _manifest(archive)

    def open(self, name: str) -> IO[bytes]:
        return self._archive.open(name)

    def verify(self) -> None:
        """Raise `Unusable` unless every member has the checksum that was written."""
        for name, member in self.manifest.members.items():
            digest = hashlib.sha256()
            try:
                with self.open(name) as stream:
                    while chunk := stream.read(CHUNK):
                        digest.update(chunk)
            except DAMAGE as error:
                raise Unusable(f"{name} in it cannot be read: {error}.") from None
            if digest.hexdigest() != member.sha256:
                raise Unusable(f"{name} in it was changed since it was written.")


@contextmanager
def reading(path: Path) -> Iterator[ArchiveReader]:
    """Open a backup for reading. Raises `Unusable`, `OSError`."""
    with path.open("rb") as file:
        try:
            archive = zipfile.ZipFile(file)
        except DAMAGE:
            raise Unusable(f"{path} is no backup, or only the beginning of one.") from None
        with archive:
            yield ArchiveReader(archive)


def _manifest(archive: zipfile.ZipFile) -> Manifest:
    try:
        raw = archive.read(MANIFEST)
        if (found := msgspec.json.decode(raw)["format"]) != FORMAT:
            raise Unusable(f"It has format {found}, this Milepost reads {FORMAT}: use a newer one.")
        return msgspec.json.decode(raw, type=Manifest)
    except (*DAMAGE, TypeError, msgspec.MsgspecError):
        raise Unusable("It has no manifest: it is no backup, or not a whole one.") from None
