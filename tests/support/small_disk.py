"""A small file system that a test may fill: a tmpfs, where root may mount one."""

import errno
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

BLOCK = 4096
WHY_NOT = "only root may mount a small file system, and not in every container"


class SmallDisk:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / ".ballast"

    def fill(self) -> None:
        """Leave not a byte; what others free meanwhile is taken too."""
        with self._ballast.open("ab", buffering=0) as ballast:
            try:
                while True:
                    ballast.write(bytes(BLOCK))
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise

    def free_space(self) -> None:
        self._ballast.unlink()


@contextmanager
def small_disk(megabytes: int) -> Iterator[SmallDisk]:
    """Mount one that the services' account can get through; unmounted whatever happens."""
    with tempfile.TemporaryDirectory(prefix="milepost-tests-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        _run("mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=711", "tmpfs", name)
        try:
            yield SmallDisk(folder)
        finally:
            _run("umount", "--lazy", name)


@cache
def can_mount() -> bool:
    if os.geteuid() != 0:
        return False
    try:
        with small_disk(1):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
