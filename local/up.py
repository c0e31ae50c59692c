"""`milepost up`: the whole of Milepost on this machine, on 127.0.0.1 only."""

import errno
import sys
from contextlib import suppress
from pathlib import Path

from local.services.account import make_passable
from local.services.kept_files import Damaged
from local.services.mosquitto import MosquittoMissing
from local.settings import RUN_ENV, LocalSettings, load
from local.supervision.machine import Machine
from local.supervision.port_checks import PortTaken
from local.supervision.processes import ServiceFailed
from local.supervision.run_state import AlreadyRunning, end_leftovers, exclusive
from local.supervision.supervisor import Supervisor

# Errors that the data folder or a file in it may cause; any other would be a bug.
UNUSABLE = frozenset(
    {
        errno.EACCES,
        errno.EDQUOT,
        errno.EEXIST,
        errno.EIO,
        errno.EISDIR,
        errno.ELOOP,
        errno.ENAMETOOLONG,
        errno.ENOENT,
        errno.ENOSPC,
        errno.ENOTDIR,
        errno.EPERM,
        errno.EROFS,
    }
)


def run(*, with_demo: bool) -> int:
    """Run until Ctrl-C; return 0 after a requested stop, 1 when a service did not start.

    Raises `core.settings.SettingsError`.
    """
    settings = load()
    try:
        _run(settings, settings.data_dir.absolute(), with_demo=with_demo)
    except (AlreadyRunning, PortTaken, MosquittoMissing, ServiceFailed, Damaged) as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    except OSError as error:
        if error.errno not in UNUSABLE:
            raise
        what = error.filename or settings.data_dir
        print(f"{what} cannot be used: {error.strerror} (set MILEPOST_DATA_DIR?)", file=sys.stderr)  # noqa: T201
        return 1
    return 0


def _run(settings: LocalSettings, data_dir: Path, *, with_demo: bool) -> None:
    make_passable(data_dir)
    with exclusive(data_dir), Supervisor(data_dir, _say) as supervisor:
        end_leftovers(data_dir, _say, give_up=lambda: supervisor.stopping)
        try:
            Machine(settings, data_dir, supervisor, _say, with_demo=with_demo).start()
            supervisor.run()
        finally:
            (data_dir / RUN_ENV).unlink(missing_ok=True)


def _say(text: str) -> None:
    # Our output may go to a file on the full disk: no reason to end what runs.
    with suppress(OSError):
        print(text, flush=True)  # noqa: T201
