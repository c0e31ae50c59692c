"""TLS before a broker that has none, as a proxy on a server would stand there."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trustme


@contextmanager
def tls_front(target: tuple[str, int], folder: Path) -> Iterator[tuple[int, Path]]:
    """The port it listens on and the file of the authority that vouches for ``localhost``."""
    authority = trustme.CA()
    ca_file = folder / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_accept, args=(server, context, target), daemon=True).start()
        yield server.getsockname()[1], ca_file


def _accept(server: socket.socket, context: ssl.SSLContext, target: tuple[str, int]) -> None:
    with contextlib.suppress(OSError):  # the server was closed: the test is over
        while True:
            client, _address = server.accept()
            threading.Thread(target=_serve, args=(client, context, target), daemon=True).start()


def _serve(client: socket.socket, context: ssl.SSLContext, target: tuple[str, int]) -> None:
    with contextlib.suppress(OSError):
        secured = context.wrap_socket(client, server_side=True)
        broker = socket.create_connection(target)
        threading.Thread(target=_pipe, args=(broker, secured), daemon=True).start()
        _pipe(secured, broker)


def _pipe(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    for end in (source, sink):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
