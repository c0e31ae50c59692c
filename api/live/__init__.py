"""Live tracking over WebSockets: the status bridge from MQTT to whoever watches a delivery."""

from api.live.live import Live
from api.live.protocol import WebSocketProtocol
from api.live.sockets import router

__all__ = ["Live", "WebSocketProtocol", "router"]
