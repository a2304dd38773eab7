"""Start or join Ray, quietly, and say what there is to work with."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import ray

TESTED = ((2, 57), (2, 62))  # [first, last) Ray versions this was run on


class RunStopped(RuntimeError):
    """A stage broke down (disk full, worker lost for good): not a bad video and not a bad setting."""


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What the cluster offers now."""

    cpus: int
    gpus: int
    nodes: int


def join(address: str | None = None) -> Resources:
    """Connect to the Ray cluster at `address`, or start one on this machine; once per process."""
    version = tuple(int(part) for part in ray.__version__.split(".")[:2])
    if not TESTED[0] <= version < TESTED[1]:
        raise ValueError(f"Ray {ray.__version__} is untested here; install ray>=2.57,<2.62")
    if not ray.is_initialized():
        # Ray reports through us; its own banners, bars and worker echoes would bury the progress line.
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
        start = partial(ray.init, log_to_driver=False, logging_level=logging.ERROR, configure_logging=True)
        with _native_stderr_closed():
            if address:
                start(address=address)
            else:
                start(include_dashboard=False, object_store_memory=_object_store_bytes())
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    total = ray.cluster_resources()
    return Resources(cpus=max(1, int(total.get("CPU", 1))), gpus=int(total.get("GPU", 0)), nodes=len(ray.nodes()))


@contextmanager
def _native_stderr_closed() -> Iterator[None]:
    """Drop what C++ writes to file descriptor 2 while Ray starts; failures come as exceptions."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


@contextmanager
def explained(work: str) -> Iterator[None]:
    """Turn Ray's wrapped worker errors into one sentence that says what broke and what is safe."""
    try:
        yield
    except ray.exceptions.RayError as error:
        cause: BaseException = error
        while deeper := getattr(cause, "cause", None) or cause.__cause__:
            cause = deeper
        reason = str(cause).strip().splitlines()[-1] if str(cause).strip() else type(cause).__name__
        raise RunStopped(
            f"{work} stopped: {type(cause).__name__}: {reason}. What was committed is safe; run the same command again "
            "to continue"
        ) from error


def _object_store_bytes() -> int:
    """A quarter of memory, at most 8 GiB: pieces are small and back-pressure keeps few of them."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(8 << 30, total // 4)
