"""Capabilities: the rights of an administrator, which a process that runs as root has.

Spoken to by system calls, as the standard library does not know them. Source: linux/capability.h.
"""

from __future__ import annotations

import ctypes
import platform

_VERSION_3 = 0x20080522
# capget, capset.
_NUMBERS = {"x86_64": (125, 126), "aarch64": (90, 91)}
# To read a document that another user has stored. Landlock says which one that is.
_KEPT = 1 << 2


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Half(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def drop_capabilities(libc: ctypes.CDLL) -> bool:
    """Give up every capability but that of reading other users' files, for good.

    Args:
        libc: the C library.

    Returns:
        Whether it is so; ``False`` on a machine whose numbers are not known, or where it is refused.
    """
    numbers = _NUMBERS.get(platform.machine())
    if numbers is None:
        return False
    get, put = numbers
    header, halves = _Header(_VERSION_3, 0), (_Half * 2)()
    if libc.syscall(get, ctypes.byref(header), halves) != 0:
        return False
    kept = halves[0].permitted & _KEPT
    halves[0] = _Half(kept, kept, 0)
    halves[1] = _Half(0, 0, 0)
    return bool(libc.syscall(put, ctypes.byref(header), halves) == 0)
