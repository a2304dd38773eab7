"""Walls around a decoder: what a process that decodes strangers' files may still do once they stand.

    standing = raise_walls(scratch="/tmp/own", readable=("/usr/lib",))     # in the child, once, after its imports
    standing                                                               # ("no new privileges", "landlock 7", ...)

    no new privileges   programs with more rights cannot be gained
    another user        user and group 65534, when started as root
    limits              open files, processes (as that user), core dumps
    landlock            no file can be opened but below `readable`, and below `scratch` for writing; no TCP
    seccomp             no sockets, no programs, no processes, no signals to others, no tracing, no mounts, no keys,
                        no change of a file's times or attributes, no limits set for others

Linux only, by system calls; a wall that cannot be had is left out of what is returned. An open descriptor stays open:
that is how the file to decode comes in (sandbox.py).
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import resource
import struct
import subprocess
import sys
from collections.abc import Sequence

WALLS = ("no new privileges", "another user", "limits", "landlock", "seccomp")
NOBODY = 65534
_FILES, _PROCESSES = 128, 4096
_libc = ctypes.CDLL(None, use_errno=True)

# Landlock's system calls have the same numbers everywhere.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR, _REMOVE_FILE, _MAKE_REG, _TRUNCATE = (
    1 << bit for bit in (0, 1, 2, 3, 5, 8, 14)
)
_ALL_FILE_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}  # from that version on

# x86-64 and 64-bit ARM: (number there, number there); None: there is no such call.
_DENIED: dict[str, tuple[int | None, int]] = {
    "socket": (41, 198), "connect": (42, 203), "accept": (43, 202), "sendto": (44, 206), "sendmsg": (46, 211),
    "bind": (49, 200), "listen": (50, 201), "socketpair": (53, 199), "accept4": (288, 242), "sendmmsg": (307, 269),
    "fork": (57, -1), "vfork": (58, -1), "execve": (59, 221), "execveat": (322, 281), "ptrace": (101, 117),
    "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "pidfd_open": (434, 434),
    "pidfd_send_signal": (424, 424), "pidfd_getfd": (438, 438), "tkill": (200, 130), "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240), "open_by_handle_at": (304, 265), "mount": (165, 40), "umount2": (166, 39),
    "unshare": (272, 97), "setns": (308, 268), "pivot_root": (155, 41), "chroot": (161, 51), "fsopen": (430, 430),
    "fsmount": (432, 432), "move_mount": (429, 429), "open_tree": (428, 428), "keyctl": (250, 219),
    "add_key": (248, 217), "request_key": (249, 218), "bpf": (321, 280), "perf_event_open": (298, 241),
    "userfaultfd": (323, 282), "io_uring_setup": (425, 425), "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427), "kexec_load": (246, 104), "init_module": (175, 105), "finit_module": (313, 273),
    "chmod": (90, -1), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452), "chown": (92, -1),
    "fchown": (93, 55), "lchown": (94, -1), "fchownat": (260, 54), "link": (86, -1), "linkat": (265, 37),
    "symlink": (88, -1), "symlinkat": (266, 36), "rename": (82, -1), "renameat": (264, 38), "renameat2": (316, 276),
    "mknod": (133, -1), "mknodat": (259, 33), "shmget": (29, 194), "msgget": (68, 186), "semget": (64, 190),
    "mq_open": (240, 180), "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7),
    "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16), "utime": (132, -1),
    "utimes": (235, -1), "futimesat": (261, -1), "utimensat": (280, 88), "personality": (135, 92),
    "process_madvise": (440, 440), "name_to_handle_at": (303, 264),
}  # fmt: skip
_KILL, _TGKILL, _CLONE, _CLONE3, _PRLIMIT = (62, 129), (234, 131), (56, 220), (435, 435), (302, 261)
_CLONE_THREAD = 0x10000
_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
_ALLOW, _KILL_PROCESS, _EPERM, _ENOSYS = 0x7FFF0000, 0x80000000, 0x00050001, 0x00050026


def raise_walls(
    *, scratch: str | None = None, readable: Sequence[str] = (), keep_user: bool = False
) -> tuple[str, ...]:
    """Raise every wall that this machine has, and return their names; there is no way back.

    scratch   folder in which files may be made and read; only for temporary ones
    readable  files and folders that may be read besides, such as those of Python's libraries
    keep_user stay root where we are root: for a file in `readable` that only root may read
    """
    standing = []
    if _libc.prctl(38, 1, 0, 0, 0) == 0:
        standing.append("no new privileges")
    if not keep_user and os.geteuid() == 0 and _become_nobody():
        standing.append("another user")
    _limit()
    standing.append("limits")
    if version := _landlock(scratch, readable):
        standing.append(f"landlock {version}")
    if _seccomp():
        standing.append("seccomp")
    return tuple(standing)


def missing(standing: Sequence[str]) -> tuple[str, ...]:
    """Name the walls that keep a decoder from files, network and programs and are not there:
    landlock, seccomp or none.
    """
    return tuple(wall for wall in ("landlock", "seccomp") if not any(each.startswith(wall) for each in standing))


def missing_text(standing: Sequence[str]) -> str:
    """Say which walls that matter a decoder has not around it; nothing when it has all."""
    lacking = missing(standing)
    if not lacking:
        return ""
    return (
        f"no {' and no '.join(lacking)} on this machine: a file made to take over a decoder could read other files or "
        "call home; take such videos from people you trust, or use Linux 5.13 or later"
    )


def on_this_machine() -> tuple[str, ...]:
    """Name the walls that can be raised here, by raising them around a process that then ends."""
    code = f"import json; from {__name__} import raise_walls; print(json.dumps(raise_walls()))"
    # Modules are found as they are here.
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    try:
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True, env=environment
        )
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(json.loads(done.stdout.splitlines()[-1]))


def _become_nobody() -> bool:
    try:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    except OSError:  # a container without these rights, or without that user
        return False
    lower(resource.RLIMIT_NPROC, _PROCESSES)  # of all children on this machine together
    _libc.prctl(1, 9, 0, 0, 0)  # to die with the parent is forgotten when the user changes
    return True


def lower(kind: int, most: int) -> None:
    """Lower a limit of this process, for good, to `most`; where it is lower already (`ulimit`), it stays."""
    there = resource.getrlimit(kind)[1]
    most = most if there == resource.RLIM_INFINITY else min(most, there)
    resource.setrlimit(kind, (most, most))


def _limit() -> None:
    lower(resource.RLIMIT_NOFILE, _FILES)
    lower(resource.RLIMIT_CORE, 0)


def _landlock(scratch: str | None, readable: Sequence[str]) -> int:
    """Restrict this process by Landlock; return its version, 0 where there is none."""
    version = _libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), 1)
    if version < 1:
        return 0
    handled = _ALL_FILE_RIGHTS[max(known for known in _ALL_FILE_RIGHTS if known <= version)]
    network = 0b11 if version >= 4 else 0  # TCP bind and connect
    scoped = 0b11 if version >= 6 else 0  # abstract sockets and signals to the outside
    attributes = struct.pack("QQQ", handled, network, scoped)[: 8 if version < 4 else 16 if version < 6 else 24]
    rules = _libc.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0)
    if rules < 0:
        return 0
    try:
        for place in readable:
            _allow(rules, place, handled & (_READ_FILE | _READ_DIR | _EXECUTE))
        if scratch is not None:
            _allow(rules, scratch, handled & (_READ_FILE | _WRITE_FILE | _MAKE_REG | _REMOVE_FILE | _TRUNCATE))
        return version if _libc.syscall(_RESTRICT_SELF, rules, 0) == 0 else 0
    finally:
        os.close(rules)


def _allow(rules: int, place: str, rights: int) -> None:
    try:
        at = os.open(place, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # what is not there, or not ours to see, cannot be read in any case
    try:
        if not os.path.isdir(place):
            rights &= _READ_FILE | _WRITE_FILE | _EXECUTE | _TRUNCATE
        _libc.syscall(_ADD_RULE, rules, 1, struct.pack("=Qi", rights, at), 0)
    finally:
        os.close(at)


def _seccomp() -> bool:
    """Install the filter; False where the kernel has no seccomp or the processor is another."""
    if platform.machine() not in _MACHINES:
        return False
    program = _filter(*_MACHINES[platform.machine()])
    code = ctypes.create_string_buffer(program, len(program))
    head = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(code))
    number = (317, 277)[_MACHINES[platform.machine()][0]]
    return _libc.syscall(number, 1, 1, head) == 0  # for all threads, whatever libraries have started


def _filter(column: int, architecture: int) -> bytes:
    """Write the filter as classic BPF: load the number, compare, return."""
    load, equal, above, any_bit, give = 0x20, 0x15, 0x35, 0x45, 0x06
    own = os.getpid()

    def step(code: int, value: int, then: int = 0, otherwise: int = 0) -> bytes:
        return struct.pack("HBBI", code, then, otherwise, value)

    lines = [step(load, 4), step(equal, architecture, 1, 0), step(give, _KILL_PROCESS), step(load, 0)]
    if column == 0:  # the x32 calls
        lines += [step(above, 0x40000000, 0, 1), step(give, _EPERM)]
    for numbers in _DENIED.values():
        if (number := numbers[column]) is not None and number >= 0:
            lines += [step(equal, number, 0, 1), step(give, _EPERM)]
    # glibc falls back to clone, whose flags can be looked at.
    lines += [step(equal, _CLONE3[column], 0, 1), step(give, _ENOSYS)]
    lines += [step(equal, _CLONE[column], 0, 4), step(load, 16), step(any_bit, _CLONE_THREAD, 1, 0)]
    lines += [step(give, _EPERM), step(give, _ALLOW)]
    for numbers in (_KILL, _TGKILL):  # to itself only: that is how a process aborts
        lines += [step(equal, numbers[column], 0, 4), step(load, 16), step(equal, own, 1, 0)]
        lines += [step(give, _EPERM), step(give, _ALLOW)]
    lines += [step(equal, _PRLIMIT[column], 0, 5), step(load, 16), step(equal, own, 2, 0), step(equal, 0, 1, 0)]
    lines += [step(give, _EPERM), step(give, _ALLOW)]
    return b"".join([*lines, step(give, _ALLOW)])
