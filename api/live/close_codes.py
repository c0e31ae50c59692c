"""WebSocket close codes as browsers see them. 4000 to 4999 are reserved for applications."""

GONE = 0  # the client left; there is no close frame to send
GOING_AWAY = 1001
TOO_MUCH = 1008
TRY_AGAIN_LATER = 1013
BAD_REQUEST = 4400
NOT_AUTHENTICATED = 4401
FORBIDDEN = 4403
NOT_FOUND = 4404
TOO_SLOW = 4408

REASONS = {
    GOING_AWAY: "going away",
    TOO_MUCH: "too many messages",
    TRY_AGAIN_LATER: "try again later",
    BAD_REQUEST: "bad request",
    NOT_AUTHENTICATED: "not authenticated",
    FORBIDDEN: "not allowed",
    NOT_FOUND: "no such delivery",
    TOO_SLOW: "too slow",
}
