"""A real S3 server on this machine (moto's), and a relay in front of it that can stop or cut an upload half way."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_EC2_METADATA_DISABLED": "true"}


class S3Server:
    """`env` is what a process needs to use it; `log` has a line for every request it answered."""

    def __init__(self, folder: Path, *, only_known_keys: bool = False):
        self.port, self._log = free_port(), folder / "s3.log"
        self.url = f"http://127.0.0.1:{self.port}"
        self.env = {**KEYS, "AWS_ENDPOINT_URL": self.url}
        checks = {"INITIAL_NO_AUTH_ACTION_COUNT": "0"} if only_known_keys else {}
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)],
                env={**os.environ, **checks},
                stdout=log,
                stderr=log,
            )
        self._wait()

    def _wait(self) -> None:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"{self.url}/moto-api/", timeout=5).close()
                return
            except urllib.error.HTTPError:
                return  # it answers
            except OSError:
                if self._process.poll() is not None:
                    break
                time.sleep(0.1)
        raise RuntimeError(f"the S3 server did not start: {self._log.read_text(errors='replace')[-2000:]}")

    def make_bucket(self, name: str) -> str:
        urllib.request.urlopen(urllib.request.Request(f"{self.url}/{name}", method="PUT"), timeout=60).close()
        return f"s3://{name}"

    def clear(self) -> None:
        """Remove all buckets."""
        urllib.request.urlopen(urllib.request.Request(f"{self.url}/moto-api/reset", method="POST"), timeout=60).close()

    def requests(self) -> list[str]:
        """List the requests, such as "GET /bucket/key"."""
        return re.findall(r'"(?:\x1b\[[0-9;]*m)*([A-Z]+ /[^"]*) HTTP/', self._log.read_text(errors="replace"))

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


class Relay:
    """Passes on what clients and a server send each other.

    limit   bytes, of uploads or downloads, after which it waits, or, with `cut`, hangs up for good
    refuse  connections at the start that it hangs up on
    """

    def __init__(self, port: int, *, limit: int = 1 << 60, of: str = "uploads", cut: bool = False, refuse: int = 0):
        self._to, self._limit, self._of, self._cut, self._refuse = port, limit, of, cut, refuse
        self._sent, self._lock, self.full, self._go_on = 0, threading.Lock(), threading.Event(), threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def go_on(self) -> None:
        self._go_on.set()

    def close(self) -> None:
        self._go_on.set()
        self._listener.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self._refuse:
                    self._refuse -= 1
                    client.close()
                    continue
                server = socket.create_connection(("127.0.0.1", self._to))
                for pair in ((client, server, self._of == "uploads"), (server, client, self._of == "downloads")):
                    threading.Thread(target=self._pass_on, args=pair, daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, counted: bool) -> None:
        with contextlib.suppress(OSError), source, target:
            while data := source.recv(1 << 16):
                with self._lock:
                    self._sent += len(data) * counted
                    if self._sent > self._limit:
                        self.full.set()
                if self.full.is_set() and counted:
                    if self._cut:
                        return
                    self._go_on.wait()
                target.sendall(data)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@contextlib.contextmanager
def running_server(folder: Path, **settings: bool) -> Iterator[S3Server]:
    server = S3Server(folder, **settings)
    try:
        yield server
    finally:
        server.close()
