"""Starts a command and adopts every process it leaves behind, so that a run can be found and ended as a whole:

    python -m ndvr.benchmarks.chaos.keeper COMMAND ...

Prints the command's pid, later its exit code (minus the signal that ended it), and ends when the last descendant is
gone. When it is terminated, or whoever started it dies, it kills them all first. What the command itself prints goes
to stderr.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time

from ndvr.benchmarks.chaos.processes import descendants

_KILL_S = 20.0  # a process that waits for a disk cannot be killed
_PDEATHSIG, _SUBREAPER = 1, 36  # linux/prctl.h


def main(command: list[str]) -> int:
    """Exit code 0 when all ended by themselves, 1 when they had to be killed."""
    prctl = ctypes.CDLL(None).prctl
    prctl(_SUBREAPER, 1)
    prctl(_PDEATHSIG, signal.SIGTERM)
    signal.signal(signal.SIGTERM, _kill_all)
    # A group of its own, as a shell gives every command: Ctrl-C goes to the group.
    started = subprocess.Popen(command, stdout=sys.stderr, start_new_session=True)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # after the start: what is ignored is inherited as ignored
    print(started.pid, flush=True)
    while True:
        try:
            pid, status = os.waitpid(-1, 0)
        except ChildProcessError:
            return 0
        if pid == started.pid:
            started.returncode = os.waitstatus_to_exitcode(status)
            print(started.returncode, flush=True)


def _kill_all(*_: object) -> None:
    until = time.monotonic() + _KILL_S
    while (running := descendants(os.getpid())) and time.monotonic() < until:
        for process in running:
            process.kill()
        time.sleep(0.05)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            break
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
