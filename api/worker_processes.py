"""The worker processes of one `milepost api`, as the files of their metrics name them."""

import os
from collections.abc import Iterator
from pathlib import Path

from prometheus_client.multiprocess import mark_process_dead


def running_workers(folder: Path) -> Iterator[int]:
    """Yield the pids of the workers that run; remove the gauges of those that ended. Needs ``/proc``."""
    if _parent_of(os.getpid()) is None:
        return
    pids = {int(number) for file in folder.glob("*.db") if (number := file.stem.rpartition("_")[2]).isdigit()}
    for pid in sorted(pids):
        if _parent_of(pid) == os.getppid():
            yield pid
        else:
            mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]


def _parent_of(pid: int) -> int | None:
    """Return the pid of a process's parent, or None without such a process or without ``/proc``."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return int(stat.rpartition(")")[2].split()[1])
