"""A relay in front of an S3 server that answers a share of requests as a store does that has trouble.

500, 503      an error instead of the answer
hangup        no answer, the connection ends
half          the answer breaks off in the middle
silent        no answer for a while, then the connection ends
done          the server did it, and the answer is 500
"""

from __future__ import annotations

import contextlib
import http.client
import http.server
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator

KINDS = ("500", "503", "hangup", "half", "silent", "done")
_ERROR = b'<?xml version="1.0"?><Error><Code>%s</Code><Message>made up</Message></Error>'
_OWN_HEADERS = ("transfer-encoding", "connection", "content-length", "expect")


class FlakyRelay:
    """`url` stands for the server's; `rate` of requests go wrong, in turn by kind; `counts` says how many did."""

    def __init__(self, port: int, *, rate: float, seed: int = 0, silent_s: float = 8.0):
        self.rate, self.silent_s, self.counts = rate, silent_s, Counter[str]()
        self._to, self._random, self._lock = port, random.Random(seed), threading.Lock()
        relay = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def pass_on(self) -> None:
                relay._pass_on(self)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = pass_on

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients hang up on it
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _next(self) -> str:
        with self._lock:
            kind = self._random.choice(KINDS) if self._random.random() < self.rate else "passed on"
            self.counts[kind] += 1
        return kind

    def _pass_on(self, client: http.server.BaseHTTPRequestHandler) -> None:
        body, kind = _body_of(client), self._next()
        if kind in ("hangup", "silent"):
            time.sleep(self.silent_s if kind == "silent" else 0)
            client.close_connection = True
            client.connection.close()
        elif kind in ("500", "503"):
            _answer(client, int(kind), {}, _ERROR % (b"SlowDown" if kind == "503" else b"InternalError"))
        else:
            status, headers, data = self._ask(client, body)
            if kind == "done":
                _answer(client, 500, {}, _ERROR % b"InternalError")
            else:
                _answer(client, status, headers, data, cut=kind == "half")

    def _ask(self, client: http.server.BaseHTTPRequestHandler, body: bytes) -> tuple[int, dict[str, str], bytes]:
        server = http.client.HTTPConnection("127.0.0.1", self._to, timeout=120)
        headers = {key: value for key, value in client.headers.items() if key.lower() not in _OWN_HEADERS}
        server.request(client.command, client.path, body=body, headers=headers | {"Content-Length": str(len(body))})
        answer = server.getresponse()
        data = answer.read()
        kept = {key: value for key, value in answer.getheaders() if key.lower() not in _OWN_HEADERS}
        if client.command == "HEAD":
            kept["Content-Length"] = answer.getheader("Content-Length") or "0"
        server.close()
        return answer.status, kept, data


def _body_of(client: http.server.BaseHTTPRequestHandler) -> bytes:
    if client.headers.get("Transfer-Encoding", "").lower() != "chunked":
        return client.rfile.read(int(client.headers.get("Content-Length") or 0))
    body = b""
    while size := int(client.rfile.readline().split(b";")[0], 16):
        body += client.rfile.read(size)
        client.rfile.readline()
    client.rfile.readline()
    return body


def _answer(
    client: http.server.BaseHTTPRequestHandler, status: int, headers: dict[str, str], data: bytes, *, cut: bool = False
) -> None:
    client.send_response_only(status)
    for key, value in ({"Content-Length": str(len(data))} | headers).items():
        client.send_header(key, value)
    client.end_headers()
    if client.command != "HEAD":
        client.wfile.write(data[: len(data) // 2] if cut else data)
    if cut:
        client.wfile.flush()
        client.close_connection = True
        client.connection.close()


@contextlib.contextmanager
def flaky(port: int, *, rate: float, seed: int = 0, silent_s: float = 8.0) -> Iterator[FlakyRelay]:
    relay = FlakyRelay(port, rate=rate, seed=seed, silent_s=silent_s)
    try:
        yield relay
    finally:
        relay.close()
