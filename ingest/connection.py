"""One MQTT 5 connection over a blocking socket: handshake, bytes in, packets out.

Invariant: a connection is never reopened. Losing it voids every packet id it delivered, so an acknowledgement
can only be sent on the very object that delivered the message.
"""

import contextlib
import socket
import ssl
import time

import mqtt5

from broker.connection import BrokerLogin

CONNECT_TIMEOUT_S = 5.0
SEND_TIMEOUT_S = 10.0
KEEP_ALIVE_S = 60
PING_AFTER_S = 20.0
SWEEP_S = 60.0
SESSION_EXPIRY_S = 7 * 24 * 3600
RECEIVE_MAXIMUM = 5_000
RECEIVE_BYTES = 256 * 1024
MAXIMUM_PACKET = 1024 * 1024


class ConnectionLost(Exception):
    """The broker is gone or has closed the connection; nothing can be sent any more.

    ``summary`` gives the reason without hosts and ports.
    """

    def __init__(self, detail: str, reason_code: int | None = None, summary: str = "") -> None:
        super().__init__(detail)
        self.reason_code = reason_code
        self.summary = summary or detail

    @property
    def is_taken_over(self) -> bool:
        return self.reason_code == int(mqtt5.DisconnectReasonCode.SESSION_TAKEN_OVER)


class Connection:
    """An open connection, subscribed to ``topic_filter``; ``session_present``: the broker kept our queue."""

    def __init__(self, login: BrokerLogin, topic_filter: str) -> None:
        """Connect and subscribe. Raises `ConnectionLost` when the broker is away or refuses us."""
        self._buffer = b""
        self._topic_filter = topic_filter
        self._socket = _open(login)
        self._sent_at = self._received_at = time.monotonic()
        self.is_open = True
        try:
            self.session_present = self._handshake(login)
            self._subscribe()
        except ConnectionLost:
            self.close()
            raise
        self._socket.settimeout(SEND_TIMEOUT_S)

    def fileno(self) -> int:
        return self._socket.fileno()

    def receive(self) -> list[mqtt5.PublishPacket]:
        """Return the arrived messages; call it when the socket is readable. Raises `ConnectionLost`."""
        # `RECEIVE_BYTES` exceeds a TLS record: the selector would not see decrypted bytes left behind.
        messages: list[mqtt5.PublishPacket] = []
        for packet in self._read():
            if isinstance(packet, mqtt5.PublishPacket):
                messages.append(packet)
            else:
                self._handle(packet)
        return messages

    def send(self, data: bytes) -> None:
        """Send all of ``data``. Raises `ConnectionLost`."""
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise ConnectionLost(f"cannot send: {error}") from error
        self._sent_at = time.monotonic()

    def keep_alive(self) -> None:
        """Ping when idle, resubscribe every minute, give up on a silent broker. Raises `ConnectionLost`."""
        now = time.monotonic()
        if now - self._received_at > KEEP_ALIVE_S:
            raise ConnectionLost(f"no answer for {KEEP_ALIVE_S} s")
        if now - self._subscribed_at > SWEEP_S:
            self._subscribe()
        elif now - self._sent_at > PING_AFTER_S:
            self.send(mqtt5.PingReqPacket().write())

    def disconnect(self) -> None:
        """Disconnect cleanly; the broker keeps the session and its queue."""
        with contextlib.suppress(ConnectionLost):  # an already lost connection needs no DISCONNECT
            self.send(mqtt5.DisconnectPacket().write())
        self.close()

    def close(self) -> None:
        self.is_open = False
        self._socket.close()

    def _handshake(self, login: BrokerLogin) -> bool:
        connect = mqtt5.ConnectPacket(
            client_id=login.user_name,
            username=login.user_name,
            password=login.secret.encode(),
            clean_start=False,
            keep_alive=KEEP_ALIVE_S,
            session_expiry_interval=SESSION_EXPIRY_S,
            receive_max=RECEIVE_MAXIMUM,
            max_packet_size=MAXIMUM_PACKET,
        )
        self.send(connect.write())
        packets = self._read(maximum=1)
        while not packets:
            packets = self._read(maximum=1)
        answer = packets[0]
        if not isinstance(answer, mqtt5.ConnAckPacket):
            raise ConnectionLost(f"the broker answered CONNECT with {type(answer).__name__}")
        if answer.reason_code != mqtt5.ConnAckReasonCode.SUCCESS:
            raise ConnectionLost(f"the broker refused us: {answer.reason_code.name}", int(answer.reason_code))
        return answer.session_present

    def _subscribe(self) -> None:
        """Subscribe, even when the session is present, and again every minute.

        This repairs a session that lost its filter. It also delivers the retained messages: copies of
        messages that did not fit into a full queue, which nothing else would ever clear.
        """
        topic_filter = mqtt5.TopicFilter(
            self._topic_filter,
            max_qos=mqtt5.QoS.AT_LEAST_ONCE,
            no_local=True,  # the retained messages we clear need not come back to us
            retain_as_published=True,
            retain_handling=mqtt5.RetainHandling.SEND_ALWAYS,
        )
        self._subscribed_at = time.monotonic()
        self.send(mqtt5.SubscribePacket(1, [topic_filter]).write())

    def _handle(self, packet: mqtt5.Packet) -> None:
        if isinstance(packet, mqtt5.DisconnectPacket):
            raise ConnectionLost(f"the broker says {packet.reason_code.name}", int(packet.reason_code))
        if isinstance(packet, mqtt5.SubAckPacket):
            refused = [code.name for code in packet.reason_codes if int(code) >= 0x80]
            if refused:
                raise ConnectionLost(f"{self._topic_filter} was refused: {', '.join(refused)}")

    def _read(self, maximum: int | None = None) -> list[mqtt5.Packet]:
        """Receive once and parse; with ``maximum``, the bytes of later packets stay in the buffer."""
        packets = self._parse(maximum)
        if packets:
            return packets
        try:
            data = self._socket.recv(RECEIVE_BYTES)
        except OSError as error:
            raise ConnectionLost(f"cannot receive: {error}") from error
        if not data:
            raise ConnectionLost("the broker closed the connection")
        self._received_at = time.monotonic()
        self._buffer = self._buffer + data if self._buffer else data
        return self._parse(maximum)

    def _parse(self, maximum: int | None) -> list[mqtt5.Packet]:
        packets: list[mqtt5.Packet] = []
        view = memoryview(self._buffer)
        position = 0
        while position < len(view) and (maximum is None or len(packets) < maximum):
            try:
                packet, size = mqtt5.read(view[position:])
            except IndexError:
                break  # the rest of this packet has not arrived yet
            except ValueError as error:
                raise ConnectionLost(f"the broker sent no MQTT: {error}") from error
            except BaseException as error:
                # A panic in the Rust parser is no `Exception`, yet it must end this connection only.
                if type(error).__name__ != "PanicException":
                    raise
                raise ConnectionLost(f"the MQTT parser failed: {error}") from error
            packets.append(packet)
            position += size
        self._buffer = self._buffer[position:]
        return packets


def _open(login: BrokerLogin) -> socket.socket:
    try:
        plain = socket.create_connection((login.host, login.port), CONNECT_TIMEOUT_S)
    except OSError as error:
        detail = f"cannot reach {login.host}:{login.port}: {error}"
        raise ConnectionLost(detail, summary="the broker cannot be reached") from error
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if login.tls is None:
        return plain
    try:
        return login.tls.wrap_socket(plain, server_hostname=login.host)
    except (OSError, ssl.CertificateError) as error:
        plain.close()
        detail = f"TLS with {login.host}:{login.port} failed: {error}"
        raise ConnectionLost(detail, summary="TLS with the broker failed") from error
