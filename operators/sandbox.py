"""A child process that can be killed: decoders hang, abort and eat memory, and none of that may reach a worker.

    with Sandbox("ndvr.operators.decode:serve") as box:
        for message in box.stream("a.mp4", views, "pyav"):
            ...

The child is a fresh interpreter (no torch, no ray, a quarter of a second) that is kept for the next call and
replaced after it died. It runs the named generator function and sends back what that yields. The function's
first argument is `beat`, to be called often: a sign of life while there is nothing to yield.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import IO, Any

from ndvr.operators.errors import DecodeError, NoPicture

START_S = 120.0
BEAT_S = 0.5  # signs of life are sent no more often


class Sandbox:
    """Calls `serve(beat, *args)`, a generator function, in a child with a deadline and a memory limit.

    needs      modules to import before the first call, so that the time it takes is not the call's
    memory_gb  data the child may allocate
    stall_s    longest silence before the child counts as hanging
    total_s    longest time one call may keep us waiting
    """

    def __init__(
        self,
        serve: str,
        *,
        needs: tuple[str, ...] = (),
        memory_gb: float = 4.0,
        stall_s: float = 30.0,
        total_s: float = 3600.0,
    ):
        self.serve, self.needs, self.memory_gb = serve, needs, memory_gb
        self.stall_s, self.total_s = stall_s, total_s
        self._child: subprocess.Popen | None = None
        self._pipe: Connection | None = None
        self._log: IO[bytes] | None = None

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def stream(self, *args: Any) -> Iterator[Any]:
        """What the call yields. DecodeError with class timeout, oom or crash when the child had to go or went.

        DecodeError and NoPicture raised inside are raised here, any other exception as a DecodeError(crash).
        """
        finished = False
        try:
            self._start()
            yield from self._messages(args)
            finished = True
        except (EOFError, ConnectionError, BrokenPipeError):
            raise self._death() from None
        except _Raised as raised:
            finished = True
            raise raised.error from None
        finally:
            if not finished:  # timeout, death, or the caller lost interest: the child's state is unknown
                self.close()

    def _messages(self, args: tuple) -> Iterator[Any]:
        assert self._pipe is not None
        self._pipe.send(args)
        waited_s = 0.0
        while True:
            began = time.monotonic()
            heard = self._pipe.poll(min(self.stall_s, max(0.0, self.total_s - waited_s)))
            waited_s += time.monotonic() - began
            if waited_s >= self.total_s:
                raise DecodeError(
                    "timeout", f"not finished after {self.total_s:g} s; the decoder was killed", died=True
                )
            if not heard:
                raise DecodeError("timeout", f"no progress for {self.stall_s:g} s; the decoder was killed", died=True)
            kind, value = self._pipe.recv()
            if kind == "end":
                return
            if kind == "raised":
                raise _Raised(value)
            if kind == "value":
                yield value

    def _start(self) -> None:
        if self._child is not None and self._child.poll() is None:
            return
        self.close()
        ours, theirs = socket.socketpair()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the child)
        with theirs:
            self._child = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    __name__,
                    str(theirs.fileno()),
                    self.serve,
                    str(self.memory_gb),
                    str(os.getpid()),
                    *self.needs,
                ],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=self._log,  # decord prints the bytes of bad files
                stderr=self._log,
            )
        self._pipe = Connection(ours.detach())
        # Importing takes seconds on a busy machine; that must not count as a stalled decoder.
        if not self._pipe.poll(START_S):
            raise DecodeError("timeout", f"the decoder process did not start within {START_S:g} s")
        self._pipe.recv()

    def _death(self) -> DecodeError:
        """What a child that is gone died of."""
        assert self._child is not None and self._log is not None
        code = self._child.wait(timeout=10)
        self._log.seek(max(0, self._log.seek(0, 2) - 4000))
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        said = f": {lines[-1][:200]}" if lines else ""
        if any(word in line for line in lines for word in ("bad_alloc", "MemoryError", "Cannot allocate memory")):
            return DecodeError("oom", f"the decoder needed more than {self.memory_gb:g} GB", died=True)
        name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return DecodeError("crash", f"the decoder process died ({name}){said}", died=True)

    def close(self) -> None:
        """Kill the child. The next call starts another."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()
        for thing in (self._pipe, self._log):
            if thing is not None:
                thing.close()
        self._child = self._pipe = self._log = None


class _Raised(Exception):
    def __init__(self, error: BaseException):
        self.error = error


def _die_with(parent: int) -> None:
    """Follow the parent into death, however it dies (Linux)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)


def _child_main(fd: int, serve: str, memory_gb: float, parent: int, needs: list[str]) -> None:
    _die_with(parent)
    # RLIMIT_DATA counts private writable memory, so neither mapped libraries nor reserved address space.
    limit = int(memory_gb * 2**30)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    pipe = Connection(fd)
    module, _, function = serve.partition(":")
    generator = getattr(importlib.import_module(module), function)
    for name in needs:
        importlib.import_module(name)
    pipe.send(("ready", None))
    last_beat = time.monotonic()

    def beat() -> None:
        nonlocal last_beat
        if time.monotonic() - last_beat > BEAT_S:
            last_beat = time.monotonic()
            pipe.send(("beat", None))

    while True:
        try:
            args = pipe.recv()
        except EOFError:
            return
        try:
            for value in generator(beat, *args):
                pipe.send(("value", value))
        except MemoryError:
            pipe.send(("raised", DecodeError("oom", f"the decoder needed more than {memory_gb:g} GB", died=True)))
        except (DecodeError, NoPicture) as error:
            pipe.send(("raised", error))
        except Exception as error:  # a bad file found a hole in us: one video's failure, with its reason
            pipe.send(("raised", DecodeError("crash", f"{type(error).__name__}: {error}", died=True)))
        else:
            pipe.send(("end", None))


if __name__ == "__main__":
    _child_main(int(sys.argv[1]), sys.argv[2], float(sys.argv[3]), int(sys.argv[4]), sys.argv[5:])
