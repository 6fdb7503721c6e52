"""Seccomp: which system calls a process may make for the rest of its life.

What reading a document never needs is refused: to start programs or processes, to open connections, to look
into or signal others, to change whose a file is, to raise limits, and what only administrators need. The
list names what is refused, since engines use many calls and differ; a test reads every kind of document.
Sources: linux/seccomp.h, linux/filter.h, and the tables of system calls of Linux 6.12.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys

_PR_SET_SECCOMP, _MODE_FILTER = 22, 2
_ALLOW, _ERRNO, _KILL_PROCESS = 0x7FFF0000, 0x00050000, 0x80000000
_NR_AT, _ARCH_AT, _FIRST_ARGUMENT_AT = 0, 4, 16
_LOAD, _JUMP_EQUAL, _JUMP_GREATER_OR_EQUAL, _JUMP_BITS, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_X32_BIT = 0x40000000
_CLONE_THREAD = 0x10000
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE = 1, 4

# By machine: its audit architecture, and the place of its numbers in the table below.
_MACHINES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}

# Name: number on x86_64, number on aarch64; -1 where there is none.
_REFUSED: dict[str, tuple[int, int]] = {
    # Programs and processes.
    "execve": (59, 221), "execveat": (322, 281), "fork": (57, -1), "vfork": (58, -1),
    "setsid": (112, 157), "setpgid": (109, 154),
    # Connections; a pair of sockets within the process stays possible.
    "socket": (41, 198), "connect": (42, 203), "bind": (49, 200), "listen": (50, 201),
    "accept": (43, 202), "accept4": (288, 242), "mq_open": (240, 180),
    "shmget": (29, 194), "shmat": (30, 196), "msgget": (68, 186), "semget": (64, 190),
    # Other processes.
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "kcmp": (312, 272), "pidfd_open": (434, 434), "pidfd_getfd": (438, 438),
    "pidfd_send_signal": (424, 424), "process_madvise": (440, 440), "process_mrelease": (448, 448),
    "tkill": (200, 130), "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240),
    # Whose a file is and what may be done with it, which Landlock leaves alone.
    "chmod": (90, -1), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452),
    "chown": (92, -1), "lchown": (94, -1), "fchown": (93, 55), "fchownat": (260, 54),
    "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7), "setxattrat": (463, 463),
    "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16),
    "removexattrat": (466, 466), "mknod": (133, -1), "mknodat": (259, 33),
    "open_by_handle_at": (304, 265), "name_to_handle_at": (303, 264), "fanotify_init": (300, 262),
    # Rights and limits.
    "setuid": (105, 146), "setgid": (106, 144), "setreuid": (113, 145), "setregid": (114, 143),
    "setresuid": (117, 147), "setresgid": (119, 149), "setfsuid": (122, 151), "setfsgid": (123, 152),
    "setgroups": (116, 159), "capset": (126, 91), "personality": (135, 92), "setrlimit": (160, 164),
    "unshare": (272, 97), "setns": (308, 268),
    # File systems.
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51),
    "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430), "fsconfig": (431, 431),
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
    "io_uring_register": (427, 427),
}  # fmt: skip
_CLONE, _PRCTL, _PRLIMIT = (56, 220), (157, 167), (302, 261)
_KILL, _TGKILL = (62, 129), (234, 131)


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
    code = _compiled(*machine, os.getpid())
    program = _Program(len(code) // 8, code)
    return bool(libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(program), 0, 0) == 0)


def _compiled(architecture: int, column: int, pid: int) -> bytes:
    """Return the filter as instructions of 8 bytes each; see :func:`restrict_calls`."""
    refused = _return(_ERRNO | errno.EPERM)
    lines = [
        _instruction(_LOAD, 0, 0, _ARCH_AT),
        _instruction(_JUMP_EQUAL, 1, 0, architecture),
        _return(_KILL_PROCESS),
        _instruction(_LOAD, 0, 0, _NR_AT),
        # The calls of a third interface, on x86_64 only; elsewhere no number is as large.
        _instruction(_JUMP_GREATER_OR_EQUAL, 0, 1, _X32_BIT),
        _return(_KILL_PROCESS),
    ]
    for table, answer in ((_REFUSED, refused), (_UNKNOWN, _return(_ERRNO | errno.ENOSYS))):
        for numbers in table.values():
            if numbers[column] >= 0:
                lines += [_instruction(_JUMP_EQUAL, 0, 1, numbers[column]), answer]
    # Threads are made, processes are not.
    lines += _unless(_CLONE[column], 0, [_instruction(_JUMP_BITS, 1, 0, _CLONE_THREAD), refused])
    # To itself, as abort() does.
    for numbers in (_KILL, _TGKILL):
        lines += _unless(numbers[column], 0, [_instruction(_JUMP_EQUAL, 1, 0, pid), refused])
    # The signal at its parent's death, and that nobody looks into it.
    words = [
        line
        for word in (_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE)
        for line in (_instruction(_JUMP_EQUAL, 0, 1, word), refused)
    ]
    lines += _unless(_PRCTL[column], 0, words)
    # Limits are read, not set: the new ones are the third argument, an address in two halves.
    third = _FIRST_ARGUMENT_AT + 8 * 2
    lines += _unless(
        _PRLIMIT[column],
        2,
        [
            _instruction(_JUMP_EQUAL, 1, 0, 0),
            refused,
            _instruction(_LOAD, 0, 0, third + 4),
            _instruction(_JUMP_EQUAL, 1, 0, 0),
            refused,
        ],
    )
    return b"".join([*lines, _return(_ALLOW)])


def _unless(number: int, argument: int, lines: list[bytes]) -> list[bytes]:
    """Judge one call by the lower half of an argument, and go on with the call's number."""
    judged = [_instruction(_LOAD, 0, 0, _FIRST_ARGUMENT_AT + 8 * argument), *lines, _return(_ALLOW)]
    return [_instruction(_JUMP_EQUAL, 0, len(judged), number), *judged]


def _instruction(code: int, if_true: int, if_false: int, value: int) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)


def _return(value: int) -> bytes:
    return _instruction(_RETURN, 0, 0, value)
