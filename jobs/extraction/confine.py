"""Bind the calling process to its limits and shut it in; the first thing that every child does.

This runs before any engine is used and before the document is opened.
"""

from __future__ import annotations

import ctypes
import enum
import functools
import os
import resource
import signal
import sys
from collections.abc import Iterable
from pathlib import Path

from jobs.extraction import seccomp
from jobs.extraction.capabilities import drop_capabilities
from jobs.extraction.landlock import restrict_paths
from jobs.extraction.result import Limits

# Source: linux/prctl.h.
_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS = 38
_OPEN_FILES = 128

# Loaded before any fork, so that a child need not.
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


_OWN_CODE = Path(__file__).resolve().parents[1]
# Below a prefix. Not the prefix itself: some keep the service and its data in a folder of /usr.
_OF_AN_INSTALLATION = ("lib", "lib64", "lib32", "share", "pyvenv.cfg")
# What engines and the interpreter look at besides themselves: libraries, fonts, clocks, and how many
# processors there are. Nothing of it is a person's.
_SYSTEM = (
    "/lib", "/lib64", "/lib32", "/nix/store",
    *(f"{prefix}/{name}" for prefix in ("/usr", "/usr/local") for name in _OF_AN_INSTALLATION),
    "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/fonts", "/etc/localtime",
    "/etc/timezone", "/etc/mime.types", "/dev/urandom", "/dev/random", "/dev/zero",
    "/sys/devices/system/cpu", "/sys/fs/cgroup", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat",
    "/proc/sys/vm/overcommit_memory", "/proc/filesystems", "/sys/kernel/mm/transparent_hugepage",
)  # fmt: skip


class CageLevel(enum.IntEnum):
    """How well a document is shut in, the weakest first.

    ``LIMITS``: processor time, memory, files and output are bounded, and the process gains no rights.
    ``FILTERED``: besides, it can start no process and open no connection (seccomp), and has none of an
    administrator's rights.
    ``SANDBOXED``: besides, it sees nothing of the file system but its document, the programs that read it,
    and its scratch folder (Landlock).
    """

    LIMITS = 0
    FILTERED = 1
    SANDBOXED = 2

    @classmethod
    def named(cls, name: str) -> CageLevel:
        """Return the level of a name in lower case.

        Raises:
            ValueError: there is none.
        """
        try:
            return cls[name.upper()]
        except KeyError:
            names = ", ".join(level.name.lower() for level in cls)
            raise ValueError(f"one of {names}") from None


def shut_in(document: Path, scratch: Path, models: Iterable[Path] = ()) -> CageLevel:
    """Take away from this process whatever reading a document does not need; after :func:`confine`.

    Args:
        document: the one file that it may read.
        scratch: the one folder in which it may write.
        models: of OCR, besides those that come with packages; it may read them.

    Returns:
        How far this machine lets it.

    Raises:
        OSError: the kernel has the means and refuses them.
    """
    if _libc is None:
        return CageLevel.LIMITS
    readable = [*programs(), *models, document, Path("/proc") / str(os.getpid())]
    has_landlock = restrict_paths(_libc, readable, [scratch, Path(os.devnull)])
    # The filter comes last: it refuses to change rights.
    if not (drop_capabilities(_libc) and seccomp.restrict_calls(_libc)):
        return CageLevel.LIMITS
    return CageLevel.SANDBOXED if has_landlock else CageLevel.FILTERED


def prepare() -> None:
    """Find out what is the same for every document, so that processes forked from this one need not."""
    programs()
    seccomp.prepare()


@functools.cache
def programs() -> tuple[Path, ...]:
    """Return where the interpreter, its packages, our own code and the models of OCR are."""
    # The folder of the whole project may hold data and settings as well, and so may one that holds it.
    packages = [path for path in sys.path if path and Path(path) != _OWN_CODE.parent]
    own = [Path(prefix) / name for prefix in {sys.prefix, sys.base_prefix} for name in _OF_AN_INSTALLATION]
    models = os.environ.get("TESSDATA_PREFIX")
    places: list[Path | str] = [*own, *packages, *([models] if models else []), *_SYSTEM]
    return tuple(path for path in (_OWN_CODE, *dict.fromkeys(map(Path, places))) if path.exists())


def confine(limits: Limits, parent_pid: int) -> None:
    """Give up rights and resources for the rest of this process's life.

    Args:
        limits: the bounds to set.
        parent_pid: the process with which this one shall die.
    """
    ignore_polite_signals()
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    # Python ignores SIGXFSZ, so a write beyond the limit fails with EFBIG and can be told.
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_CPU, limits.cpu_seconds, spare=2)
    _lower(resource.RLIMIT_FSIZE, limits.file_bytes)
    _lower(resource.RLIMIT_NOFILE, _OPEN_FILES)
    # Whatever is imported by now, much by a fork server and little by a program of its own, is
    # not the document's doing.
    address_bytes = limits.memory_bytes + limits.address_headroom_bytes
    _lower(resource.RLIMIT_AS, _mapped_bytes() + address_bytes)
    os.umask(0o077)
    if _libc is not None:
        _confine_on_linux(_libc, parent_pid)


def ignore_polite_signals() -> None:
    """Leave it to the process that waits for this one when to end.

    Platforms that stop a service send SIGTERM to every process of a machine, and the document in
    hand shall be finished. What ends this process is SIGKILL.
    """
    for polite in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(polite, signal.SIG_IGN)


def hide_from_others(is_hidden: bool) -> None:
    """Forbid other processes of this user to look into this one, or allow it again.

    Without this a document that has taken over its reader could write into the memory of the
    process that forks the readers of the next documents. A fork inherits it, and then cannot set
    what is its own either: it allows it again.
    """
    if _libc is not None:
        _libc.prctl(_PR_SET_DUMPABLE, int(not is_hidden), 0, 0, 0)


def _mapped_bytes() -> int:
    """Return this process's address space in bytes, 0 where that cannot be told."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    except OSError:
        return 0
    return pages * resource.getpagesize()


def _lower(kind: int, value: int, *, spare: int = 0) -> None:
    """Set a soft limit and, ``spare`` above it, the hard one; never above what is inherited."""
    _soft, hard = resource.getrlimit(kind)
    ceiling = value + spare if hard == resource.RLIM_INFINITY else min(value + spare, hard)
    resource.setrlimit(kind, (min(value, ceiling), ceiling))


def _confine_on_linux(libc: ctypes.CDLL, parent_pid: int) -> None:
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    # The parent may have died before the call above, and then the signal never comes.
    if os.getppid() != parent_pid:
        os._exit(1)
    # When the machine runs out of memory, the kernel shall end this process before any other.
    Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
