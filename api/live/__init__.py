"""Live tracking over WebSockets: the bridge from MQTT facts to the clients that watch a delivery."""

from api.live.live import Live
from api.live.socket.endpoint import router
from api.live.socket.protocol import WebSocketProtocol

__all__ = ["Live", "WebSocketProtocol", "router"]
