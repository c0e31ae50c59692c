"""The accounts of PostgreSQL and Mosquitto on this machine, and the folders of their files.

PostgreSQL refuses to run as root, and Mosquitto should not. So root runs both under another account, on
folders created for them; a folder that existed before is never opened to others.
"""

import os
import pwd
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = 0
UNPRIVILEGED = "nobody"
SYSTEM_STATE = Path("/var/lib")


@dataclass(frozen=True)
class Account:
    """The account that a service runs as; ``None`` in its place means our own."""

    uid: int
    gid: int
    name: str


def service_account(data_dir: Path) -> Account | None:
    """Return, for root, the owner of ``data_dir`` if that is a real user, otherwise ``nobody``.

    So a user's data stay that user's, and a folder that root created stays ``nobody``'s. While there is no
    ``data_dir``, the nearest folder above it counts.
    """
    if os.geteuid() != ROOT:
        return None
    owner = _nearest(data_dir.absolute()).stat().st_uid
    try:
        entry = pwd.getpwuid(owner) if owner != ROOT else pwd.getpwnam(UNPRIVILEGED)
    except KeyError:
        entry = pwd.getpwnam(UNPRIVILEGED)
    return Account(entry.pw_uid, entry.pw_gid, entry.pw_name)


def service_home(data_dir: Path, account: Account | None) -> Path:
    """Return the parent folder of the services' folders: ``data_dir/services``.

    Below a parent that ``account`` cannot enter (``/root``) the folder is in ``/var/lib``, and a link in
    ``data_dir`` points to it.
    """
    home = data_dir / "services"
    if home.exists():
        return home.resolve()
    home.unlink(missing_ok=True)  # a link to a deleted folder
    make_passable(data_dir)
    if account is None or can_enter(data_dir, account):
        make_passable(home)
    else:
        elsewhere = Path(tempfile.mkdtemp(prefix="milepost-", dir=SYSTEM_STATE))
        elsewhere.chmod(0o711)
        home.symlink_to(elsewhere)
    return home.resolve()


def make_passable(folder: Path) -> Path:
    """Create a folder, unless it exists, that other users may traverse, but not list or change."""
    if not folder.exists():
        folder.mkdir(parents=True)
        folder.chmod(0o711)  # whatever the umask
    return folder


def make_private(folder: Path, account: Account | None) -> Path:
    """Create a folder, unless it exists, that only ``account`` may enter."""
    if not folder.exists():
        folder.mkdir(mode=0o700)
        give(folder, account)
    return folder


def remove_home(data_dir: Path) -> None:
    """Remove what `service_home` created, wherever it is."""
    home = data_dir / "services"
    if home.exists():
        shutil.rmtree(home.resolve())
    home.unlink(missing_ok=True)


def give(path: Path, account: Account | None) -> None:
    """Make ``account`` the owner of a file or folder that we created."""
    if account is not None:
        os.chown(path, account.uid, account.gid, follow_symlinks=False)


def can_enter(path: Path, account: Account) -> bool:
    """Return whether ``account`` may search this folder or run this file, by a test under that account."""
    test = subprocess.run(
        ["/usr/bin/test", "-x", str(path)],
        cwd="/",
        user=account.uid,
        group=account.gid,
        extra_groups=[],
        check=False,
    )
    return test.returncode == 0


def _nearest(path: Path) -> Path:
    return path if path.exists() else _nearest(path.parent)
