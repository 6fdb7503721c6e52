"""Landlock: what of the file system a process may use for the rest of its life, without any privilege.

Spoken to by system calls, as the standard library does not know it. Source: linux/landlock.h, and the manual
page landlock(7). The three calls have the same numbers on every architecture.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Iterable
from pathlib import Path

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION_FLAG = 1
_PATH_BENEATH = 1

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REMOVE_DIR, _REMOVE_FILE, _MAKE_DIR, _MAKE_REG = 1 << 4, 1 << 5, 1 << 7, 1 << 8
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_FOR_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV

_READ = _READ_FILE | _READ_DIR
_WRITE = (
    _READ | _WRITE_FILE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG | _REFER | _TRUNCATE
)  # fmt: skip

# By version of the interface: how many rights it has for files, and the size of what describes a ruleset.
_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}
_RIGHTS_NOW = 16
_NETWORK_SINCE, _SCOPES_SINCE = 4, 6
_BIND_AND_CONNECT = 0b11
_ABSTRACT_SOCKETS_AND_SIGNALS = 0b11


class _RulesetAttributes(ctypes.Structure):
    _fields_ = (
        ("handled_access_fs", ctypes.c_uint64),
        ("handled_access_net", ctypes.c_uint64),
        ("scoped", ctypes.c_uint64),
    )


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


def restrict_paths(libc: ctypes.CDLL, readable: Iterable[Path], writable: Iterable[Path]) -> bool:
    """Leave this process nothing of the file system but these; it must not be able to gain privileges.

    Nothing may be executed. Where the kernel can, TCP, abstract sockets and signals to processes outside
    are forbidden, too.

    Args:
        libc: the C library, with ``use_errno``.
        readable: files, and folders with all that is in them; those that do not exist are left out.
        writable: the same, to be read, written, made and deleted.

    Returns:
        Whether it is so; ``False`` where the kernel has no Landlock.

    Raises:
        OSError: the kernel has it and refuses.
    """
    version = libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION_FLAG)
    if version < 1:
        if ctypes.get_errno() in {errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM}:
            return False
        raise _error()
    handled = (1 << _RIGHTS.get(version, _RIGHTS_NOW)) - 1
    attributes = _RulesetAttributes(handled_access_fs=handled)
    size = 8
    if version >= _NETWORK_SINCE:
        attributes.handled_access_net, size = _BIND_AND_CONNECT, 16
    if version >= _SCOPES_SINCE:
        attributes.scoped, size = _ABSTRACT_SOCKETS_AND_SIGNALS, 24
    ruleset = _checked(
        libc.syscall(_CREATE_RULESET, ctypes.byref(attributes), ctypes.c_size_t(size), ctypes.c_uint32(0))
    )
    try:
        for paths, rights in ((readable, _READ), (writable, _WRITE)):
            for path in paths:
                _allow(libc, ruleset, path, rights & handled)
        _checked(libc.syscall(_RESTRICT_SELF, ruleset, ctypes.c_uint32(0)))
    finally:
        os.close(ruleset)
    return True


def _allow(libc: ctypes.CDLL, ruleset: int, path: Path, rights: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(place).st_mode):
            rights &= _FOR_FILES
        beneath = _PathBeneath(rights, place)
        _checked(libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.byref(beneath), ctypes.c_uint32(0)))
    finally:
        os.close(place)


def _checked(answer: int) -> int:
    if answer < 0:
        raise _error()
    return answer


def _error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))
