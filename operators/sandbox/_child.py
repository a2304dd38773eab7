"""The child of a sandbox: calls one generator function again and again, within limits. See sandbox.py."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import glob
import importlib
import json
import os
import resource
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any

from ndvr.operators.errors import DecodeError, NoPicture
from ndvr.operators.sandbox import _wire as wire
from ndvr.operators.sandbox.handed_file import HandedFile
from ndvr.operators.sandbox.walls import lower, raise_walls

NO_PICTURE = "no picture"
# Libraries may open more of themselves while they work: modules, codecs, tables of character sets.
_LIBRARIES = (sys.prefix, sys.base_prefix, "/lib", "/lib64", "/usr/lib", "/usr/lib64", "/dev/null", "/dev/urandom")

BEAT_S = 0.5  # signs of life are sent no more often
_MACHINE = (errno.ENOSPC, errno.EIO, errno.EMFILE, errno.ENFILE)  # errors that are no file's fault


def _die_with(parent: int) -> None:
    """Follow the parent into death, however it dies (Linux)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)


def main(
    *, fd: int, serve: str, memory_gb: float, parent: int, scratch: str, needs: list[str], readable: list[str]
) -> None:
    """Answer calls that come through the socket `fd`, until it is closed; see Sandbox for the rest."""
    _die_with(parent)
    # RLIMIT_DATA counts private writable memory, so neither mapped libraries nor reserved address space.
    limit = int(memory_gb * 2**30)
    lower(resource.RLIMIT_DATA, limit)
    lower(resource.RLIMIT_FSIZE, limit)  # of temporary files
    pipe, channel = Connection(fd), socket.socket(fileno=os.dup(fd))
    module, _, function = serve.partition(":")
    generator = getattr(importlib.import_module(module), function)
    for name in needs:
        importlib.import_module(name)
    memory = os.open("/proc/self/statm", os.O_RDONLY)  # cannot be opened from behind the walls
    tempfile.tempdir = scratch
    # A file that is opened by its name may be one that only we may read.
    libraries = [*_LIBRARIES, *_packages()]
    walls = raise_walls(scratch=scratch, readable=[*libraries, *readable], keep_user=bool(readable))
    wire.write(pipe, ("ready", walls))
    _answer_calls(pipe, channel, generator, memory, memory_gb)


def _answer_calls(
    pipe: Connection, channel: socket.socket, generator: Callable[..., Iterator[Any]], memory: int, memory_gb: float
) -> None:
    last_beat = time.monotonic()

    def beat() -> None:
        nonlocal last_beat
        if time.monotonic() - last_beat > BEAT_S:
            last_beat = time.monotonic()
            wire.write(pipe, ("beat", None))

    while True:
        try:
            name, args = pipe.recv()
        except EOFError:
            return
        try:
            with contextlib.ExitStack() as stack:
                if name is not None:
                    _, (descriptor,), _, _ = socket.recv_fds(channel, 1, 1)
                    args = (stack.enter_context(HandedFile(descriptor, name)), *args)
                for value in generator(beat, *args):
                    wire.write(pipe, ("value", value))
        except (DecodeError, NoPicture) as error:
            wire.write(pipe, ("raised", _told(error)))
        except Exception as error:  # a bad file found a hole in us: one video's failure, with its reason
            wire.write(pipe, ("raised", _told(_reason(error, memory_gb))))
        else:
            data_pages = int(os.pread(memory, 200, 0).split()[5])
            wire.write(pipe, ("end", data_pages * resource.getpagesize()))  # what counts towards the limit


def _packages() -> list[str]:
    """List the folders of the packages that were imported, wherever these lie, and of libraries they bring along."""
    tops = [module for name, module in list(sys.modules.items()) if "." not in name and name != "ndvr"]
    folders = {str(folder) for module in tops for folder in getattr(module, "__path__", ())}
    beside = {libs for folder in folders for libs in glob.glob(f"{glob.escape(os.path.dirname(folder))}/*.libs")}
    return sorted(folders | beside)


def _told(error: DecodeError | NoPicture) -> tuple[str, str, bool]:
    """Name the class of failure, or "no picture"; the message; whether the process died with it."""
    if isinstance(error, NoPicture):
        return NO_PICTURE, str(error), False
    return error.kind, error.message, error.died


def _reason(error: Exception, memory_gb: float) -> DecodeError:
    """Classify what nobody foresaw."""
    if isinstance(error, MemoryError):
        return DecodeError("oom", f"the decoder needed more than {memory_gb:g} GB", died=True)
    if isinstance(error, OSError) and error.errno == errno.EFBIG:
        return DecodeError("oom", f"the decoder needed a temporary file of more than {memory_gb:g} GB")
    if isinstance(error, OSError) and error.errno in _MACHINE:
        return DecodeError("io", f"{error.strerror} while decoding")
    return DecodeError("crash", f"{type(error).__name__}: {error}", died=True)


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
