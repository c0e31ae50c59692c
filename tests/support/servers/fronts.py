"""What may stand before a server: TLS that ends there, or a network that swallows everything."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import trustme

Address = tuple[str, int]


class Front:
    """Forwards to ``target``. While ``freeze()``d it accepts and keeps, as a frozen server's kernel does."""

    def __init__(self, target: Address, secure: Callable[[socket.socket], socket.socket]) -> None:
        self._target = target
        self._secure = secure
        self._server = socket.create_server(("127.0.0.1", 0))
        self._open = threading.Event()
        self._open.set()
        self.port: int = self._server.getsockname()[1]
        _in_background(self._accept)

    def freeze(self) -> None:
        self._open.clear()

    def thaw(self) -> None:
        self._open.set()

    def close(self) -> None:
        self._open.set()
        self._server.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed: the test is over
            while True:
                client, _address = self._server.accept()
                _in_background(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            near, far = self._secure(client), socket.create_connection(self._target)
            _in_background(self._pipe, far, near)
            self._pipe(near, far)

    def _pipe(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self._open.wait()
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def _in_background(work: Callable[..., None], *arguments: object) -> None:
    threading.Thread(target=work, args=arguments, daemon=True).start()


@contextmanager
def plain_front(target: Address) -> Iterator[Front]:
    front = Front(target, lambda client: client)
    try:
        yield front
    finally:
        front.close()


@contextmanager
def tls_front(target: Address, folder: Path) -> Iterator[tuple[int, Path]]:
    """The port it listens on and the file of the authority that vouches for ``localhost``."""
    authority = trustme.CA()
    ca_file = folder / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    front = Front(target, lambda client: context.wrap_socket(client, server_side=True))
    try:
        yield front.port, ca_file
    finally:
        front.close()
