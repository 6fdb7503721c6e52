"""Seccomp: which system calls a process may make for the rest of its life.

What reading a document never needs is refused: to start programs or processes, to open connections, to look
into or signal others, to change whose a file is, to raise limits, and what only administrators need. The
list names what is refused, since engines use many calls and differ; a test reads every kind of document.
Sources: linux/seccomp.h, linux/filter.h, and the tables of system calls of Linux 6.12.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import platform
import struct
import sys

_PR_SET_SECCOMP, _MODE_FILTER = 22, 2
_ALLOW, _ERRNO, _KILL_PROCESS = 0x7FFF0000, 0x00050000, 0x80000000
_NR_AT, _ARCH_AT, _FIRST_ARGUMENT_AT = 0, 4, 16
_LOAD, _AND, _RETURN = 0x20, 0x54, 0x06
_JUMP_EQUAL, _JUMP_GREATER_OR_EQUAL = 0x15, 0x35
_X32_BIT = 0x40000000

# By machine: its audit architecture, and the place of its numbers in the table below.
_MACHINES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}

# Name: number on x86_64, number on aarch64; -1 where there is none.
_REFUSED: dict[str, tuple[int, int]] = {
    # Programs and processes.
    "execve": (59, 221), "execveat": (322, 281), "fork": (57, -1), "vfork": (58, -1),
    "setsid": (112, 157), "setpgid": (109, 154),
    # Connections; a pair of sockets within the process stays possible.
    "socket": (41, 198), "connect": (42, 203), "bind": (49, 200), "listen": (50, 201),
    "accept": (43, 202), "accept4": (288, 242), "mq_open": (240, 180), "mq_unlink": (241, 181),
    "shmget": (29, 194), "shmat": (30, 196), "shmctl": (31, 195),
    "msgget": (68, 186), "msgsnd": (69, 189), "msgrcv": (70, 188), "msgctl": (71, 187),
    "semget": (64, 190), "semop": (65, 193), "semtimedop": (220, 192), "semctl": (66, 191),
    # Memory that is nobody's resident memory and can be executed.
    "memfd_create": (319, 279), "memfd_secret": (447, 447),
    # Other processes.
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "kcmp": (312, 272), "pidfd_open": (434, 434), "pidfd_getfd": (438, 438),
    "pidfd_send_signal": (424, 424), "process_madvise": (440, 440), "process_mrelease": (448, 448),
    "migrate_pages": (256, 238), "move_pages": (279, 239), "ioprio_set": (251, 30),
    "tkill": (200, 130), "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240),
    # Whose a file is and what may be done with it, and who else uses it, which Landlock leaves alone. How
    # long it is, which the first versions of Landlock leave alone.
    "chmod": (90, -1), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452),
    "chown": (92, -1), "lchown": (94, -1), "fchown": (93, 55), "fchownat": (260, 54),
    "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7), "setxattrat": (463, 463),
    "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16),
    "removexattrat": (466, 466), "file_setattr": (469, 469), "utime": (132, -1), "utimes": (235, -1),
    "futimesat": (261, -1), "utimensat": (280, 88), "truncate": (76, 45), "inotify_init": (253, -1),
    "inotify_init1": (294, 26), "mknod": (133, -1), "mknodat": (259, 33),
    "open_by_handle_at": (304, 265), "name_to_handle_at": (303, 264), "fanotify_init": (300, 262),
    # Rights and limits.
    "setuid": (105, 146), "setgid": (106, 144), "setreuid": (113, 145), "setregid": (114, 143),
    "setresuid": (117, 147), "setresgid": (119, 149), "setfsuid": (122, 151), "setfsgid": (123, 152),
    "setgroups": (116, 159), "capset": (126, 91), "personality": (135, 92), "setrlimit": (160, 164),
    "unshare": (272, 97), "setns": (308, 268), "lsm_set_self_attr": (460, 460),
    # File systems.
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51),
    "open_tree": (428, 428), "open_tree_attr": (467, 467), "move_mount": (429, 429),
    "fsopen": (430, 430), "fsconfig": (431, 431),
    "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442),
    "quotactl": (179, 60), "quotactl_fd": (443, 443), "swapon": (167, 224), "swapoff": (168, 225),
    # The machine, and doors into the kernel that are rarely used and often broken.
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282),
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219),
    "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106),
    "kexec_load": (246, 104), "kexec_file_load": (320, 294), "reboot": (169, 142),
    "iopl": (172, -1), "ioperm": (173, -1), "modify_ldt": (154, -1), "syslog": (103, 116),
    "acct": (163, 89), "vhangup": (153, 58), "settimeofday": (164, 170), "clock_settime": (227, 112),
    "adjtimex": (159, 171), "clock_adjtime": (305, 266), "sethostname": (170, 161),
    "setdomainname": (171, 162),
}  # fmt: skip
# Whoever calls these knows an older way and takes it.
_UNKNOWN: dict[str, tuple[int, int]] = {
    "clone3": (435, 435), "io_uring_setup": (425, 425), "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427), "io_setup": (206, 0), "openat2": (437, 437),
}  # fmt: skip

# What is judged by its arguments, as (number on x86_64, number on aarch64).
_CLONE, _PRCTL, _PRLIMIT, _SOCKETPAIR = (56, 220), (157, 167), (302, 261), (53, 199)
_FCNTL, _IOCTL, _OPEN, _OPENAT = (72, 25), (16, 29), (2, -1), (257, 56)
_KILL, _TGKILL, _SETPRIORITY = (62, 129), (234, 131), (141, 140)
# sched_setparam, sched_setscheduler, sched_setaffinity, sched_setattr.
_SCHEDULE = ((142, 118), (144, 119), (203, 122), (314, 274))

_CLONE_THREAD, _CLONE_NEW = 0x10000, 0x7E020000
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE = 1, 4
_AF_UNIX, _SOCK_STREAM, _SOCKET_TYPES = 1, 1, 0xF
# F_SETOWN, F_SETSIG, F_SETOWN_EX: signals by way of a descriptor; F_SETLEASE, F_NOTIFY: who uses a file.
_REFUSED_FCNTL = (8, 10, 15, 1024, 1026)
# TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX: is it a terminal, how much is there to read,
# and what fcntl can do as well. Others change files that are open for reading, or whole file systems.
_IOCTLS = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
# The first versions of Landlock let a file be emptied that is opened, but not for writing.
_O_TRUNC, _O_ACCMODE = 0o1000, 0o3
_EMPTYING = (_O_TRUNC, _O_TRUNC | _O_ACCMODE)
_OPENINGS = ((_OPEN, 1), (_OPENAT, 2))


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def restrict_calls(libc: ctypes.CDLL) -> bool:
    """Refuse system calls from now on; this process must not be able to gain privileges.

    Args:
        libc: the C library, with ``use_errno``.

    Returns:
        Whether it is so; ``False`` where the kernel cannot, or on a machine whose numbers are not known.
    """
    machine = _MACHINES.get(platform.machine())
    if sys.platform != "linux" or machine is None:
        return False
    code = _for_all(*machine) + _for_one(machine[1], os.getpid())
    program = _Program(len(code) // 8, code)
    return bool(libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(program), 0, 0) == 0)


def prepare() -> None:
    """Build what is the same for every process, so that processes forked from this one need not."""
    if platform.machine() in _MACHINES:
        _for_all(*_MACHINES[platform.machine()])


@functools.cache
def _for_all(architecture: int, column: int) -> bytes:
    """Return the filter's first part as instructions of 8 bytes each; see :func:`restrict_calls`."""
    lines = [
        _instruction(_LOAD, 0, 0, _ARCH_AT),
        _instruction(_JUMP_EQUAL, 1, 0, architecture),
        _return(_KILL_PROCESS),
        _instruction(_LOAD, 0, 0, _NR_AT),
        # The calls of a third interface, on x86_64 only; elsewhere no number is as large.
        _instruction(_JUMP_GREATER_OR_EQUAL, 0, 1, _X32_BIT),
        _return(_KILL_PROCESS),
    ]
    for table, answer in ((_REFUSED, _EPERM), (_UNKNOWN, _return(_ERRNO | errno.ENOSYS))):
        for numbers in table.values():
            if numbers[column] >= 0:
                lines += [_instruction(_JUMP_EQUAL, 0, 1, numbers[column]), answer]
    judged = (
        # Threads are made; processes and namespaces are not.
        (_CLONE, _only(0, _CLONE_THREAD, mask=_CLONE_THREAD) + _only(0, 0, mask=_CLONE_NEW)),
        # The signal at its parent's death, and that nobody looks into it.
        (_PRCTL, _never(0, _PR_SET_PDEATHSIG, _PR_SET_DUMPABLE)),
        # Limits are read, not set: the new ones are the third argument, an address in two halves.
        (_PRLIMIT, _only(2, 0) + _only(2, 0, half=1)),
        # A pair of any other kind can send to whoever listens.
        (_SOCKETPAIR, _only(0, _AF_UNIX) + _only(1, _SOCK_STREAM, mask=_SOCKET_TYPES)),
        (_FCNTL, _never(1, *_REFUSED_FCNTL)),
        (_IOCTL, _only(1, *_IOCTLS)),
        (_SETPRIORITY, _only(0, 0) + _only(1, 0)),
        *((calls, _never(at, *_EMPTYING, mask=_O_TRUNC | _O_ACCMODE)) for calls, at in _OPENINGS),
    )
    for numbers, conditions in judged:
        lines += _judge(numbers[column], conditions)
    return b"".join(lines)


def _for_one(column: int, pid: int) -> bytes:
    """Return the filter's second part: what a process may do to itself and to no other."""
    lines: list[bytes] = []
    # To itself, as abort() does.
    for numbers in (_KILL, _TGKILL):
        lines += _judge(numbers[column], _only(0, pid))
    for numbers in _SCHEDULE:
        lines += _judge(numbers[column], _only(0, 0, pid))
    return b"".join([*lines, _return(_ALLOW)])


def _judge(number: int, conditions: list[bytes]) -> list[bytes]:
    """Allow one call if no condition refuses it; any other goes on with its number."""
    if number < 0:
        return []
    judged = [*conditions, _return(_ALLOW)]
    return [_instruction(_JUMP_EQUAL, 0, len(judged), number), *judged]


def _only(argument: int, *values: int, mask: int = 0, half: int = 0) -> list[bytes]:
    """Refuse a call unless half an argument, 0 for the lower one, has one of these values."""
    found = [_instruction(_JUMP_EQUAL, len(values) - at, 0, value) for at, value in enumerate(values)]
    return [*_load(argument, mask, half), *found, _EPERM]


def _never(argument: int, *values: int, mask: int = 0) -> list[bytes]:
    """Refuse a call if the lower half of an argument has one of these values."""
    found = [line for value in values for line in (_instruction(_JUMP_EQUAL, 0, 1, value), _EPERM)]
    return [*_load(argument, mask, 0), *found]


def _load(argument: int, mask: int, half: int) -> list[bytes]:
    loaded = _instruction(_LOAD, 0, 0, _FIRST_ARGUMENT_AT + 8 * argument + 4 * half)
    return [loaded, _instruction(_AND, 0, 0, mask)] if mask else [loaded]


def _instruction(code: int, if_true: int, if_false: int, value: int) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)


def _return(value: int) -> bytes:
    return _instruction(_RETURN, 0, 0, value)


_EPERM = _return(_ERRNO | errno.EPERM)
