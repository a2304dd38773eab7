"""The child of a sandbox: calls one generator function again and again, within limits. See sandbox.py."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import importlib
import os
import resource
import signal
import sys
import time
from multiprocessing.connection import Connection

from ndvr.operators.errors import DecodeError, NoPicture

BEAT_S = 0.5  # signs of life are sent no more often
_MACHINE = (errno.ENOSPC, errno.EIO, errno.EMFILE, errno.ENFILE)  # errors that are no file's fault


def _die_with(parent: int) -> None:
    """Follow the parent into death, however it dies (Linux)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)


def main(fd: int, serve: str, memory_gb: float, parent: int, needs: list[str]) -> None:
    _die_with(parent)
    # RLIMIT_DATA counts private writable memory, so neither mapped libraries nor reserved address space.
    limit = int(memory_gb * 2**30)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))  # of temporary files
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
        except (DecodeError, NoPicture) as error:
            pipe.send(("raised", error))
        except Exception as error:  # a bad file found a hole in us: one video's failure, with its reason
            pipe.send(("raised", _reason(error, memory_gb)))
        else:
            pipe.send(("end", _data_bytes()))


def _reason(error: Exception, memory_gb: float) -> DecodeError:
    """Find the class of an error that nothing else has caught."""
    if isinstance(error, MemoryError):
        return DecodeError("oom", f"the decoder needed more than {memory_gb:g} GB", died=True)
    if isinstance(error, OSError) and error.errno == errno.EFBIG:
        return DecodeError("oom", f"the decoder needed a temporary file of more than {memory_gb:g} GB")
    if isinstance(error, OSError) and error.errno in _MACHINE:
        return DecodeError("io", f"{error.strerror} while decoding")
    return DecodeError("crash", f"{type(error).__name__}: {error}", died=True)


def _data_bytes() -> int:
    """Measure the memory that counts towards the limit."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[5]) * resource.getpagesize()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], float(sys.argv[3]), int(sys.argv[4]), sys.argv[5:])
