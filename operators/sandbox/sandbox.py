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
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Any, TypeVar

from ndvr.operators.errors import ERROR_CLASSES, DecodeError, NoPicture
from ndvr.operators.sandbox import _wire as wire
from ndvr.operators.sandbox._child import NO_PICTURE
from ndvr.operators.sandbox.handed_file import HandedFile
from ndvr.operators.sandbox.walls import NOBODY

CHILD = "ndvr.operators.sandbox._child"
START_S = 120.0
_MESSAGE_BYTES, _MESSAGE_LETTERS = 256 << 20, 4000
# Where libraries are, and how they are to behave; OPENBLAS_CORETYPE chooses a kernel that is right on this machine.
_ENVIRONMENT = (
    *("PATH", "PYTHONPATH", "PYTHONHOME", "PYTHONHASHSEED", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TZ"),
    *("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"),
)
_SCRATCH = "ndvr-decoder-"  # + process id + "-" + ...: folders for temporary files of children
GONE_S = 5.0  # a child that was killed and is still there waits for a dead disk, and we not for it
# What a program brings upon itself; any other signal came from somebody else.
_FAULTS = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSYS, signal.SIGTRAP)
_NO_MEMORY = ("bad_alloc", "MemoryError", "Cannot allocate memory")


T = TypeVar("T")
R = TypeVar("R")


class ChildDied(DecodeError):
    """The child went down by its own doing: a fault, an abort, an exit."""


class ChildKilled(DecodeError):
    """The child was killed by somebody else, or could not be started: says nothing about what it was doing."""


class Sandbox:
    """Calls `serve(beat, *args)`, a generator function of a module, in a child with a deadline and a memory limit.

    needs      modules to import before the first call: later the child cannot read them
    records    the classes, beside plain values, of which what `serve` yields is made
    readable   files that the child may open by name; what it is to read comes with the call
    memory_gb  data the child may allocate
    stall_s    longest silence before the child counts as hanging
    total_s    longest time one call may keep us waiting
    """

    def __init__(
        self,
        serve: Callable[..., Iterator[Any]],
        *,
        needs: tuple[str, ...] = (),
        records: tuple[type, ...] = (),
        readable: tuple[str, ...] = (),
        memory_gb: float = 4.0,
        stall_s: float = 30.0,
        total_s: float = 3600.0,
    ):
        self.serve = f"{serve.__module__}:{serve.__qualname__}"
        self.needs, self.records, self.readable, self.memory_gb = needs, records, readable, memory_gb
        self.stall_s, self.total_s = stall_s, total_s
        self._child: subprocess.Popen | None = None
        self.walls: tuple[str, ...] = ()  # that stand around the child, once there was one; see walls.py
        self._pipe: Connection | None = None
        self._channel: socket.socket | None = None  # the same socket, for descriptors
        self._log: IO[bytes] | None = None
        self._scratch: tempfile.TemporaryDirectory | None = None

    @property
    def pid(self) -> int | None:
        """Process id of the child, while there is one."""
        return self._child.pid if self._child is not None else None

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def stream(self, *args: Any, file: str | None = None) -> Iterator[Any]:
        """Yield what the call yields. DecodeError with class timeout, oom or crash when the child had to go or went.

        file  is opened here, and handed to `serve(beat, HandedFile, *args)`. DecodeError(io) where it cannot be opened.
        DecodeError and NoPicture raised inside are raised here, any other exception as a DecodeError(crash).
        """
        handed = None if file is None else self._opened(file)  # a file that cannot be opened costs no child
        finished = False
        try:
            with handed or contextlib.nullcontext():
                self._start()
                self._call(handed, args)
            yield from self._messages()
            finished = True
        except BlockingIOError:  # the child was stopped in the middle of a message
            raise self._stalled() from None
        except wire.Malformed as error:
            raise DecodeError("crash", str(error), died=True) from None
        except (EOFError, OSError):
            raise self._death() from None
        except _Raised as raised:
            finished = True
            raise raised.error from None
        finally:
            if not finished:  # timeout, death, or the caller lost interest: the child's state is unknown
                self.close()

    def _opened(self, path: str) -> HandedFile:
        """Open a file in a thread of its own: of a disk that does not answer, opening never returns."""
        answer: list[HandedFile | Exception] = []

        def work() -> None:
            try:
                answer.append(HandedFile.of(path))
            except Exception as error:  # whatever it is belongs to the caller
                answer.append(error)

        thread = threading.Thread(target=work, name="open", daemon=True)
        thread.start()
        thread.join(self.stall_s)
        if not answer:
            raise DecodeError("timeout", f"not opened within {self.stall_s:g} s: {path}")
        if isinstance(answer[0], Exception):
            raise answer[0]
        return answer[0]

    def _call(self, file: HandedFile | None, args: tuple) -> None:
        assert self._pipe is not None and self._channel is not None
        self._pipe.send((None if file is None else file.name, args))
        if file is not None:
            socket.send_fds(self._channel, [b"f"], [file.fileno()])

    def _messages(self) -> Iterator[Any]:
        assert self._pipe is not None
        waited_s = 0.0
        while True:
            began = time.monotonic()
            heard = self._pipe.poll(min(self.stall_s, max(0.0, self.total_s - waited_s)))
            kind, value = self._answer() if heard else ("nothing", None)
            waited_s += time.monotonic() - began
            if waited_s >= self.total_s:
                raise DecodeError(
                    "timeout", f"not finished after {self.total_s:g} s; the decoder was killed", died=True
                )
            if not heard:
                raise self._stalled()
            if kind == "raised":
                raise _Raised(_error(value))
            if kind == "end":
                assert isinstance(value, int)
                if value > self.memory_gb * 2**30 / 2:  # libraries leak: the next video shall find room
                    self.close()
                return
            if kind == "value":
                yield value

    def _answer(self) -> tuple[str, Any]:
        """Receive one message of the child, which may be anybody's by now."""
        assert self._pipe is not None
        message = wire.read(self._pipe, records=self.records, most_bytes=_MESSAGE_BYTES)
        if not isinstance(message, tuple) or len(message) != 2:
            raise wire.Malformed("the decoder's answer has no kind")
        kind, value = message
        if kind == "end" and not isinstance(value, int):
            raise wire.Malformed("the decoder's answer ends with no number")
        return kind, value

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
        ours, theirs = socket.socketpair()
        # A child that is stopped in the middle of a message must not stop us.
        whole_s = int(self.stall_s)
        wait = struct.pack("ll", whole_s, int((self.stall_s - whole_s) * 1e6))
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, wait)
        self._channel = ours.dup()
        self._pipe = Connection(ours.detach())
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the child)
        _remove_left_folders()
        self._scratch = tempfile.TemporaryDirectory(prefix=f"{_SCRATCH}{os.getpid()}-")
        if os.geteuid() == 0 and not self.readable:
            os.chown(self._scratch.name, NOBODY, NOBODY)
        settings = {
            "fd": theirs.fileno(),
            "serve": self.serve,
            "memory_gb": self.memory_gb,
            "parent": os.getpid(),
            "scratch": self._scratch.name,
            "needs": self.needs,
            "readable": self.readable,
        }
        with theirs:
            self._child = subprocess.Popen(
                [sys.executable, "-m", CHILD, json.dumps(settings)],
                pass_fds=[theirs.fileno()],
                env=_clean_environment(),
                stdin=subprocess.DEVNULL,
                stdout=self._log,  # decord prints the bytes of bad files
                stderr=self._log,
                start_new_session=True,  # Ctrl-C is for us; we take the child along
            )
        # Importing takes seconds on a busy machine; that must not count as a stalled decoder.
        if not self._pipe.poll(START_S):
            raise DecodeError("timeout", f"the decoder process did not start within {START_S:g} s")
        self.walls = _names(self._answer()[1])

    def _death(self) -> DecodeError:
        """Find out what a child that is gone died of."""
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
        last_words = f": {lines[-1][:200]}" if lines else ""
        if any(word in line for line in lines for word in _NO_MEMORY):
            return DecodeError("oom", f"the decoder needed more than {self.memory_gb:g} GB", died=True)
        name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return ChildDied("crash", f"the decoder process died ({name}){last_words}", died=True)

    def close(self) -> None:
        """Kill the child. The next call starts another."""
        if self._child is not None:
            self._child.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._child.wait(timeout=GONE_S)
        for thing in (self._pipe, self._channel, self._log):
            if thing is not None:
                thing.close()
        if self._scratch is not None:
            self._scratch.cleanup()
        self._child = self._pipe = self._channel = self._log = self._scratch = None


def _remove_left_folders() -> None:
    """Remove the empty scratch folders of processes that were killed; an hour old, as containers may share them."""
    for left in Path(tempfile.gettempdir()).glob(f"{_SCRATCH}*"):
        pid = left.name.removeprefix(_SCRATCH).partition("-")[0]
        with contextlib.suppress(OSError):  # of another user, not empty, or another process was faster
            if pid.isdigit() and not Path("/proc", pid).exists() and left.stat().st_mtime < time.time() - 3600:
                left.rmdir()


def _clean_environment() -> dict[str, str]:
    """Keep what Python and its libraries need to start, and nothing that anybody keeps secret.

    One thread: walls are for the thread that raises them, and a decoder has one core.
    """
    kept = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    return kept | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def _names(value: Any) -> tuple[str, ...]:
    return tuple(str(each) for each in value) if isinstance(value, tuple) else ()


def _error(value: Any) -> DecodeError | NoPicture:
    """Rebuild the exception behind what the child said of it."""
    try:
        kind, message, died = value
        if kind == NO_PICTURE:
            return NoPicture(str(message))
        if kind in ERROR_CLASSES:
            return DecodeError(kind, str(message)[:_MESSAGE_LETTERS], bool(died))
    except (TypeError, ValueError):
        pass
    raise wire.Malformed("the decoder's answer is no known failure")


class _Raised(Exception):
    def __init__(self, error: BaseException):
        self.error = error


class Sandboxes:
    """Several sandboxes, each lent to one thread at a time."""

    def __init__(self, make: Callable[[], Sandbox], count: int):
        self._every = [make() for _ in range(count)]
        self._free: SimpleQueue[Sandbox] = SimpleQueue()
        for box in self._every:
            self._free.put(box)

    def __enter__(self) -> Sandboxes:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextlib.contextmanager
    def one(self) -> Iterator[Sandbox]:
        """Lend a sandbox, as soon as one is free."""
        box = self._free.get()
        try:
            yield box
        finally:
            self._free.put(box)

    def map(self, work: Callable[[T, Sandbox], R], items: Iterable[T]) -> Iterator[R]:
        """Yield work(item, sandbox) in the order of the items, as many at once as there are sandboxes."""

        def lent(item: T) -> R:
            with self.one() as box:
                return work(item, box)

        with ThreadPoolExecutor(len(self._every)) as threads:
            yield from threads.map(lent, items)

    def close(self) -> None:
        """End all children."""
        for box in self._every:
            box.close()
