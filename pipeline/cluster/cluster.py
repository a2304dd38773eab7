"""Start or join Ray, quietly, and say what there is to work with."""

from __future__ import annotations

import logging
import math
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import ray
import yaml
from ray._private import ray_logging
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ndvr.operators.errors import RunStopped
from ndvr.operators.storage.sealed import Damaged
from ndvr.pipeline.cluster._start import start_patiently

TESTED = ((2, 57), (2, 62))  # [first, last) Ray versions this was run on
ANSWER_S = 15.0  # a cluster that is there answers sooner


@dataclass(frozen=True, kw_only=True, eq=False)
class Node:
    """A machine of the cluster, or one that its autoscaler may add."""

    cpus: float
    gpus: float = 0.0
    labels: dict[str, str] = field(default_factory=dict)  # as Ray knows them


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What the cluster offers."""

    nodes: tuple[Node, ...]  # that are there now
    more: tuple[Node, ...] = ()  # machines that its autoscaler may add

    @property
    def all(self) -> tuple[Node, ...]:
        """List the machines of now and later."""
        return self.nodes + self.more

    @property
    def cpus(self) -> int:
        """Count the CPUs that are there now, at least one."""
        return max(1, int(sum(node.cpus for node in self.nodes)))

    @property
    def gpus(self) -> int:
        """Count the GPUs that are there now."""
        return int(sum(node.gpus for node in self.nodes))

    def __str__(self) -> str:
        grows = f" and an autoscaler that may add {_listed(self.more)}" if self.more else " and no autoscaler"
        return _listed([node for node in self.nodes if node.cpus or node.gpus]) + grows


def _listed(nodes: Sequence[Node]) -> str:
    cpus, gpus = sum(node.cpus for node in nodes), sum(node.gpus for node in nodes)
    return f"{_counted(len(nodes), 'node')} with {_counted(cpus, 'CPU')} and {_counted(gpus, 'GPU')}"


def _counted(count: float, what: str) -> str:
    return f"{f'{count:g}' if count else 'no'} {what}{'s' if count > 1 else ''}"


def gpu_share(workers: int, gpus: float) -> float:
    """Return how much of a GPU each of so many workers can have, so that all find a place; at most a whole one."""
    # Rounded down to the ten-thousandths that Ray counts in.
    return math.floor(10_000 / math.ceil(workers / gpus)) / 10_000 if gpus else 0.0


def join(address: str | None = None, *, show: bool = False) -> Resources:
    """Connect to the Ray cluster at `address`, or start one on this machine; once per process.

    ValueError, soon, when no cluster answers there or it runs another Ray or Python. RunStopped when it cannot be
    started here.

    show  say that it is starting, on a line of its own
    """
    check_version()
    if not ray.is_initialized():
        # Ray reports through us; its own banners, bars and worker echoes would bury the progress line.
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
        start = partial(ray.init, log_to_driver=False, logging_level=logging.ERROR, configure_logging=True)
        on_sigterm = signal.getsignal(signal.SIGTERM)  # Ray sets two handlers of its own, which abort the process
        # `ray job submit` says in this variable which cluster it has put us on.
        if address := address or os.environ.get("RAY_ADDRESS"):
            check_reachable(address)
            try:
                with _native_stderr_closed():
                    start(address=address)
            except (ConnectionError, RuntimeError, ray.exceptions.RayError) as error:  # other versions, nothing there
                raise ValueError(f"cannot join the Ray cluster at {address}: {' '.join(str(error).split())}") from None
        else:

            def start_here() -> None:
                with _native_stderr_closed():  # "local": never one that somebody else has started on this machine
                    start(address="local", include_dashboard=False, object_store_memory=_object_store_bytes())

            start_patiently(start_here, show=show)
        if callable(on_sigterm) and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, on_sigterm)
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    # What Ray has to say about lost workers would go to our standard output, whatever it was told above.
    ray_logging.stdout_deduplicator.skip_re = re.compile("")
    return Resources(nodes=_nodes(), more=_more_nodes())


def check_version() -> None:
    """Raise ValueError for a Ray that was not tried."""
    version = tuple(int(part) for part in ray.__version__.split(".")[:2])
    if not TESTED[0] <= version < TESTED[1]:
        raise ValueError(f"Ray {ray.__version__} is untested here; install ray>=2.57,<2.62")


def check_reachable(address: str) -> None:
    """Raise ValueError unless a Ray cluster of our version answers. Ray itself takes a minute, and ends the process."""
    if address == "auto":
        return
    if "://" in address:
        raise ValueError(
            f"--address {address}: give HOST:PORT, and run on a node of the cluster (`ray job submit` or `ray exec`): "
            "Ray Client does not carry Ray Data"
        )
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise ValueError(f"--address {address}: expected HOST:PORT, such as 10.0.0.1:6379, or auto")
    nothing = f"no Ray cluster answers at {address}"
    hint = "is its head up, and is the port, usually 6379, open to this machine?"
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_S / 3).close()
    except OSError as error:
        raise ValueError(f"{nothing} ({error}); {hint}") from None
    check = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--address", address]
    try:
        done = subprocess.run(check, capture_output=True, text=True, timeout=ANSWER_S)
    except subprocess.TimeoutExpired:
        raise ValueError(f"{nothing} within {ANSWER_S:g} s, although something listens; {hint}") from None
    if done.returncode:
        reason = (done.stderr.strip() or "no reason given").splitlines()[-1]
        raise ValueError(f"cannot join the Ray cluster at {address}: {reason}")


def _nodes() -> tuple[Node, ...]:
    return tuple(
        Node(cpus=node["Resources"].get("CPU", 0), gpus=node["Resources"].get("GPU", 0), labels=node["Labels"])
        for node in ray.nodes()
        if node["Alive"]
    )


def is_gone(actor: Any) -> bool:
    """Say whether an actor has died and is not there again."""
    from ray._private.state import actors

    return actors(actor._actor_id.hex())["State"] in ("RESTARTING", "DEAD")


class OnEveryNode:
    """Calls a function once on every node of the cluster, beside other work; nodes may come and go."""

    def __init__(self, function: Callable[[], Any]):
        self._call = ray.remote(num_cpus=0, max_retries=0)(function)
        self._asked: dict[str, ray.ObjectRef] = {}  # by the id of the node
        self._ask()

    def _ask(self) -> None:
        for node in ray.nodes():
            if node["Alive"] and node["NodeID"] not in self._asked:
                there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
                self._asked[node["NodeID"]] = self._call.options(scheduling_strategy=there).remote()

    def answers(self, *, within_s: float = 20.0) -> list[Any]:
        """Collect what the nodes answered, those that came meanwhile too; one that is gone, or is slow, is left out."""
        self._ask()
        answered, _ = ray.wait(list(self._asked.values()), num_returns=len(self._asked), timeout=within_s)
        answers = []
        for each in answered:
            with suppress(ray.exceptions.RayError):
                answers.append(ray.get(each))
        return answers


def more_nodes(config: dict[str, Any], present: Counter[str]) -> tuple[Node, ...]:
    """List what the autoscaler of this cluster.yaml may add to so many nodes of each type."""
    return tuple(
        Node(cpus=kind["resources"].get("CPU", 0), gpus=kind["resources"].get("GPU", 0), labels=kind.get("labels", {}))
        for name, kind in config["available_node_types"].items()
        for _ in range(kind.get("max_workers", 0) - present[name])
    )


def _more_nodes() -> tuple[Node, ...]:
    """List what the autoscaler may add to what there is; known on the head of a cluster made by `ray up` only.

    Other autoscalers (KubeRay's) do not tell, so with them only what is there counts, and what the user asks for.
    """
    path = Path("~/ray_bootstrap_config.yaml").expanduser()
    if not path.exists():
        return ()
    present = Counter(node["Labels"].get("ray.io/node-group", "") for node in ray.nodes() if node["Alive"])
    return more_nodes(yaml.safe_load(path.read_text()), present)


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
    """Turn Ray's wrapped worker errors into one sentence that says what broke and what is safe.

    Damaged, which names a file and a remedy, and RunStopped stay what they are.
    """
    from ray.data.exceptions import SystemException

    try:
        yield
    except ray.exceptions.RayError as error:
        cause: BaseException = error
        # Ray Data marks what is not a user's fault by a cause that says nothing.
        while (deeper := getattr(cause, "cause", None) or cause.__cause__) and not isinstance(deeper, SystemException):
            cause = deeper
        if isinstance(cause, (Damaged, RunStopped)):
            raise cause from error
        reason = str(cause).strip().splitlines()[-1] if str(cause).strip() else type(cause).__name__
        raise RunStopped(
            f"{work} stopped: {type(cause).__name__}: {reason}. What was committed is safe; run the same command again "
            "to continue",
            passing=getattr(cause, "passing", False),
        ) from error


def _object_store_bytes() -> int:
    """Take a quarter of memory, at most 8 GiB: pieces are small and back-pressure keeps few of them."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(8 << 30, total // 4)
