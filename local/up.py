"""`milepost up`: the whole of Milepost on this machine, on 127.0.0.1 only."""

import sys

from local.account import make_passable
from local.machine import Machine, PortTaken
from local.mosquitto import MosquittoMissing
from local.processes import ServiceFailed
from local.run_state import AlreadyRunning, end_leftovers, exclusive
from local.settings import RUN_ENV, load
from local.supervisor import Supervisor


def run(*, with_demo: bool) -> int:
    """Run until Ctrl-C. The exit code: 0 after a stop that was asked for, 1 when something did not start.

    Raises `core.settings.SettingsError`.
    """
    settings = load()
    data_dir = make_passable(settings.data_dir.absolute())
    try:
        with exclusive(data_dir), Supervisor(data_dir, _say) as supervisor:
            for name in end_leftovers(data_dir):
                _say(f"{name} of an earlier run was still there and was stopped")
            try:
                Machine(settings, data_dir, supervisor, _say, with_demo=with_demo).start()
                supervisor.run()
            finally:
                (data_dir / RUN_ENV).unlink(missing_ok=True)
    except (AlreadyRunning, PortTaken, MosquittoMissing, ServiceFailed) as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    except PermissionError as error:
        print(f"{error.filename} belongs to somebody else (set MILEPOST_DATA_DIR?)", file=sys.stderr)  # noqa: T201
        return 1
    return 0


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201
