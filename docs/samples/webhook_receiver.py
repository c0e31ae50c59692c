"""Receive Milepost's webhooks and print whether each is genuine.

WEBHOOK_SECRET=whsec_… python3 webhook_receiver.py http://127.0.0.1:9000/milepost
"""

import hashlib
import hmac
import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import urlsplit


def is_genuine(body: bytes, signature: str, secret: str) -> bool:
    parts = [part.split("=", 1) for part in signature.split(",")]
    sent_at = next(value for name, value in parts if name == "t")
    expected = hmac.new(secret.encode(), f"{sent_at}.".encode() + body, hashlib.sha256).hexdigest()
    # For a day after rotating the secret there are two v1 parts.
    is_signed = any(hmac.compare_digest(expected, value) for name, value in parts if name == "v1")
    return is_signed and abs(time.time() - int(sent_at)) < 300


class WebhookReceiver(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        genuine = is_genuine(body, self.headers["Milepost-Signature"], os.environ["WEBHOOK_SECRET"])
        event = json.loads(body) if genuine else {}
        print("genuine" if genuine else "FORGED", event.get("type"), event.get("id"), flush=True)
        self.send_response(204 if genuine else 400)
        self.end_headers()


if __name__ == "__main__":
    address = urlsplit(sys.argv[1])
    HTTPServer((str(address.hostname), address.port or 80), WebhookReceiver).serve_forever()
