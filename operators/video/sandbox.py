"""A child process that can be killed: decoders hang, abort and eat memory, and none of that may reach a worker.

    with Sandbox(decode_child.serve) as box:
        for message in box.stream("a.mp4", views, "pyav"):
            ...

The child is a fresh interpreter (no torch, no ray, a quarter of a second) that is kept for the next call and
replaced after it died. It imports the generator function by its name, runs it and sends back what that yields. The
function's first argument is `beat`, to be called often: a sign of life while there is nothing to yield.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import IO, Any

from ndvr.operators.errors import DecodeError

CHILD = "ndvr.operators.video.sandbox_child"
START_S = 120.0
GONE_S = 5.0  # a child that was killed and is still there waits for a dead disk; we do not wait for it
# What a program brings upon itself; any other signal came from somebody else.
_FAULTS = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSYS, signal.SIGTRAP)
_NO_MEMORY = ("bad_alloc", "MemoryError", "Cannot allocate memory")


class ChildDied(DecodeError):
    """The child went down by its own doing: a fault, an abort, an exit."""


class ChildKilled(DecodeError):
    """The child was killed by somebody else, or could not be started: says nothing about what it was doing."""


class Sandbox:
    """Calls `serve(beat, *args)`, a generator function of a module, in a child with a deadline and a memory limit.

    needs      modules to import before the first call, so that the time it takes is not the call's
    memory_gb  data the child may allocate
    stall_s    longest silence before the child counts as hanging
    total_s    longest time one call may keep us waiting
    """

    def __init__(
        self,
        serve: Callable[..., Iterator[Any]],
        *,
        needs: tuple[str, ...] = (),
        memory_gb: float = 4.0,
        stall_s: float = 30.0,
        total_s: float = 3600.0,
    ):
        self.serve = f"{serve.__module__}:{serve.__qualname__}"
        self.needs, self.memory_gb = needs, memory_gb
        self.stall_s, self.total_s = stall_s, total_s
        self._child: subprocess.Popen | None = None
        self._pipe: Connection | None = None
        self._log: IO[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Of the child, while there is one."""
        return self._child.pid if self._child is not None else None

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def stream(self, *args: Any) -> Iterator[Any]:
        """Yield what the call yields. DecodeError of class timeout, oom or crash when the child was killed or died.

        DecodeError and NoPicture raised inside are raised here, any other exception as a DecodeError(crash).
        """
        finished = False
        try:
            self._start()
            yield from self._messages(args)
            finished = True
        except BlockingIOError:  # the child was stopped in the middle of a message
            raise self._stalled() from None
        except (EOFError, OSError):
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
        kind: str
        value: Any  # of the child's own making
        while True:
            began = time.monotonic()
            heard = self._pipe.poll(min(self.stall_s, max(0.0, self.total_s - waited_s)))
            kind, value = self._pipe.recv() if heard else ("nothing", None)
            waited_s += time.monotonic() - began
            if waited_s >= self.total_s:
                raise DecodeError(
                    "timeout", f"not finished after {self.total_s:g} s; the decoder was killed", died=True
                )
            if not heard:
                raise self._stalled()
            if kind == "raised":
                raise _Raised(value)
            if kind == "end":
                if value > self.memory_gb * 2**30 / 2:  # libraries leak: the next video shall find room
                    self.close()
                return
            if kind == "value":
                yield value

    def _stalled(self) -> DecodeError:
        return DecodeError("timeout", f"no progress for {self.stall_s:g} s; the decoder was killed", died=True)

    def _start(self) -> None:
        if self._child is not None and self._child.poll() is None:
            assert self._log is not None
            os.lseek(self._log.fileno(), 0, os.SEEK_SET)  # the child writes where we stand
            os.ftruncate(self._log.fileno(), 0)
            return
        self.close()
        try:
            self._launch()
        except (EOFError, OSError) as error:
            why = self._death().message if isinstance(error, EOFError | ConnectionError) else str(error)
            self.close()
            raise ChildKilled("crash", f"the decoder process could not be started: {why}") from None

    def _launch(self) -> None:
        parent_end, child_end = socket.socketpair()
        # A child that is stopped in the middle of a message must not stop us.
        whole_s = int(self.stall_s)
        wait = struct.pack("ll", whole_s, int((self.stall_s - whole_s) * 1e6))
        parent_end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, wait)
        self._pipe = Connection(parent_end.detach())
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the child)
        with child_end:
            self._child = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    CHILD,
                    str(child_end.fileno()),
                    self.serve,
                    str(self.memory_gb),
                    str(os.getpid()),
                    *self.needs,
                ],
                pass_fds=[child_end.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=self._log,  # decord prints the bytes of bad files
                stderr=self._log,
                start_new_session=True,  # Ctrl-C is for us; we take the child along
            )
        # Importing takes seconds on a busy machine; that must not count as a stalled decoder.
        if not self._pipe.poll(START_S):
            raise DecodeError("timeout", f"the decoder process did not start within {START_S:g} s")
        self._pipe.recv()

    def _death(self) -> DecodeError:
        """Tell what a child that is gone died of."""
        assert self._child is not None and self._log is not None
        try:
            code = self._child.wait(timeout=GONE_S)
        except subprocess.TimeoutExpired:
            return DecodeError("crash", "the decoder process stopped talking and was killed", died=True)
        if code < 0 and -code not in _FAULTS:
            name = signal.Signals(-code).name
            likely = ", most likely by the kernel's out-of-memory killer" if name == "SIGKILL" else ""
            return ChildKilled("crash", f"the decoder process was killed from outside with {name}{likely}", died=True)
        self._log.seek(max(0, self._log.seek(0, 2) - 4000))
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        last_line = f": {lines[-1][:200]}" if lines else ""
        if any(word in line for line in lines for word in _NO_MEMORY):
            return DecodeError("oom", f"the decoder needed more than {self.memory_gb:g} GB", died=True)
        name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return ChildDied("crash", f"the decoder process died ({name}){last_line}", died=True)

    def close(self) -> None:
        """Kill the child. The next call starts another."""
        if self._child is not None:
            self._child.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._child.wait(timeout=GONE_S)
        for thing in (self._pipe, self._log):
            if thing is not None:
                thing.close()
        self._child = self._pipe = self._log = None


class _Raised(Exception):
    def __init__(self, error: BaseException):
        self.error = error
