"""Free TCP ports of 127.0.0.1."""

import random
import socket
from contextlib import closing

LOOPBACK = "127.0.0.1"
# Below the range from which Linux and macOS take the ports of outgoing connections.
OURS = range(20_000, 32_000)
UNPRIVILEGED = range(1024, 65_536)


def is_free(port: int) -> bool:
    """Return whether a server could listen on ``port`` now, whatever old connections linger."""
    with closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
            probe.listen()
        except OSError:
            return False
    return True


def free_port() -> int:
    """Return a random free port, so that two concurrent callers hardly ever get the same."""
    for port in random.sample(OURS, 200):
        if is_free(port):
            return port
    raise RuntimeError("no free TCP port found on 127.0.0.1")


def answers(port: int) -> bool:
    """Return whether a server accepts connections on ``port``."""
    with closing(socket.socket()) as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((LOOPBACK, port)) == 0
