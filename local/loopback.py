"""HTTP to our own processes on this machine.

As a program (``python -m local.loopback URL``, a container's health check) it fails unless the answer is a
success.
"""

import http.client
import sys
import urllib.request

# urllib uses `http_proxy` for 127.0.0.1 too, unless `no_proxy` names it.
_WITHOUT_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def request(what: str | urllib.request.Request, *, timeout_s: float) -> http.client.HTTPResponse:
    """Return the response, to be closed. Raises `OSError`, which includes `HTTPError` (4xx and 5xx)."""
    response: http.client.HTTPResponse = _WITHOUT_PROXY.open(what, timeout=timeout_s)
    return response


if __name__ == "__main__":
    with request(sys.argv[1], timeout_s=3):
        pass
