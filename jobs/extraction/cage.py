"""Run one reader in a process of its own, watch its time and memory, and leave nothing behind.

The child gets an empty environment, no descriptor but the progress pipe, its own session and an
empty scratch folder. Its result is a file in that folder, read back as untrusted JSON. It dies
with the thread that started it, so ``run`` belongs into a thread that outlives the call.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs.extraction.faults import Fault, FaultCode
from jobs.extraction.memory import MemoryWatch
from jobs.extraction.result import Limits
from jobs.model import JSON

REQUEST_NAME = "request.json"
RESULT_NAME = "result.json"
PROJECT_ROOT = Path(__file__).resolve().parents[2]
# Isolated mode ignores PYTHONPATH, the user's packages and the working folder, so the one folder
# that the child needs is named to it.
_BOOT = "import sys; sys.path.insert(0, sys.argv[1]); from jobs.extraction.child import main; main()"
CHILD_PROGRAM = (sys.executable, "-I", "-c", _BOOT, str(PROJECT_ROOT))

_TICK_SECONDS = 0.05
# How often on_progress is called even when nothing moved: it is also how the caller says stop.
_HEARTBEAT_SECONDS = 1.0
_PIPE_BYTES = 65_536
_MEMORY_SUSPECT_SHARE = 0.7


@dataclass(frozen=True, slots=True)
class Usage:
    """What a child used: wall seconds and the peak of resident memory in bytes."""

    seconds: float
    peak_bytes: int


@dataclass(frozen=True, slots=True)
class _Ending:
    returncode: int
    usage: Usage
    cpu_seconds: float


def run(
    request: dict[str, JSON],
    *,
    limits: Limits,
    seconds: float,
    on_progress: Callable[[float], None],
    program: Sequence[str] = CHILD_PROGRAM,
) -> tuple[dict[str, JSON], Usage]:
    """Start a child, wait for it and return the JSON object that it wrote.

    Args:
        request: what the child shall do; it finds it in its scratch folder.
        limits: the bounds, already part of the request as well.
        seconds: wall-clock time after which the child is killed.
        on_progress: called with the share done, 0 to 1, at least once a second; whatever it
            raises ends the child and reaches the caller.
        program: the command; it gets the scratch folder, the progress descriptor and this
            process's id as its last three arguments.

    Raises:
        Fault: when the child reached a limit, crashed, or wrote no valid result.
    """
    try:
        scratch = Path(tempfile.mkdtemp(prefix="extraction-"))
    except OSError as error:
        raise Fault(FaultCode.ENVIRONMENT, note=type(error).__name__) from error
    try:
        ending = _run_in(scratch, request, limits, seconds, on_progress, program)
        return _read_result(scratch, ending, limits), ending.usage
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def environment(scratch: Path) -> dict[str, str]:
    """Return the child's whole environment; nothing of this process's own is passed on."""
    return {
        "PATH": "/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
        "TESSDATA_PREFIX": str(Path(sys.prefix) / "share" / "tessdata"),
        "HF_HUB_OFFLINE": "1",
        "OMP_THREAD_LIMIT": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def _run_in(
    scratch: Path,
    request: dict[str, JSON],
    limits: Limits,
    seconds: float,
    on_progress: Callable[[float], None],
    program: Sequence[str],
) -> _Ending:
    started = time.monotonic()
    read_end, write_end = os.pipe()
    process: subprocess.Popen[bytes] | None = None
    try:
        try:
            (scratch / REQUEST_NAME).write_text(json.dumps(request), encoding="utf-8")
            process = subprocess.Popen(
                [*program, str(scratch), str(write_end), str(os.getpid())],
                env=environment(scratch),
                cwd=scratch,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                close_fds=True,
                pass_fds=(write_end,),
                start_new_session=True,
            )
        except OSError as error:
            raise Fault(FaultCode.ENVIRONMENT, note=type(error).__name__) from error
        os.close(write_end)
        write_end = -1
        return _wait(process, read_end, started, seconds, limits, on_progress)
    finally:
        # Also the way out when RQ's job timeout or on_progress raises in the middle of the wait.
        if process is not None:
            _kill(process)
        os.close(read_end)
        if write_end >= 0:
            os.close(write_end)


def _wait(
    process: subprocess.Popen[bytes],
    read_end: int,
    started: float,
    seconds: float,
    limits: Limits,
    on_progress: Callable[[float], None],
) -> _Ending:
    os.set_blocking(read_end, False)
    memory = MemoryWatch(process.pid)
    meter = _Meter(on_progress)
    with selectors.DefaultSelector() as selector:
        selector.register(read_end, selectors.EVENT_READ)
        while True:
            is_open = bool(selector.get_map())
            ready = selector.select(_TICK_SECONDS) if is_open else []
            if not is_open:
                time.sleep(_TICK_SECONDS / 10)
            if ready and not meter.read(read_end):
                selector.unregister(read_end)
            ended = _reap(process)
            if ended is not None:
                usage = Usage(time.monotonic() - started, memory.peak_bytes)
                return _Ending(process.returncode, usage, ended)
            if memory.sample() > limits.memory_bytes:
                raise Fault(FaultCode.LIMIT_MEMORY)
            if time.monotonic() - started > seconds:
                raise Fault(FaultCode.LIMIT_TIME)
            meter.beat()


class _Meter:
    """Pass the child's progress lines on, never backwards, and beat once a second without them."""

    def __init__(self, on_progress: Callable[[float], None]) -> None:
        self._on_progress = on_progress
        self._share = 0.0
        self._rest = b""
        self._told_at = time.monotonic()
        self._is_news = False

    def read(self, descriptor: int) -> bool:
        """Take what the pipe holds; return ``False`` at its end."""
        try:
            chunk = os.read(descriptor, _PIPE_BYTES)
        except BlockingIOError:
            return True
        *lines, rest = (self._rest + chunk).split(b"\n")
        self._rest = rest[-32:]
        for line in lines[-1:]:
            # The child is not trusted: whatever is no number up to 1, or goes backwards, is dropped.
            with contextlib.suppress(ValueError):
                share = float(line[:32])
                if self._share < share <= 1.0:
                    self._share, self._is_news = share, True
        return bool(chunk)

    def beat(self) -> None:
        """Tell news, or the old share once a second."""
        now = time.monotonic()
        if self._is_news or now - self._told_at >= _HEARTBEAT_SECONDS:
            self._is_news, self._told_at = False, now
            self._on_progress(self._share)


def _reap(process: subprocess.Popen[bytes], *, block: bool = False) -> float | None:
    """Collect an ended child; return its CPU seconds, ``None`` while it runs."""
    if process.returncode is not None:
        return 0.0
    pid, status, used = os.wait4(process.pid, 0 if block else os.WNOHANG)
    if pid == 0:
        return None
    process.returncode = os.waitstatus_to_exitcode(status)
    return used.ru_utime + used.ru_stime


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End the child and all its group, and leave no zombie."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        # The group outlives its leader while a descendant lives, so this comes even after a reap.
        os.killpg(process.pid, signal.SIGKILL)
    _reap(process, block=True)


def _read_result(scratch: Path, ending: _Ending, limits: Limits) -> dict[str, JSON]:
    if ending.returncode != 0:
        raise _fault_of_exit(ending, limits)
    try:
        descriptor = os.open(scratch / RESULT_NAME, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            data = file.read(limits.result_bytes + 1)
        value = json.loads(data, parse_constant=_refuse) if len(data) <= limits.result_bytes else None
    except (OSError, ValueError, RecursionError) as error:
        note = type(error).__name__
        raise Fault(FaultCode.READER_CRASHED, detail="no valid result", note=note) from error
    if not isinstance(value, dict):
        raise Fault(FaultCode.READER_CRASHED, detail="no valid result")
    return value


def _refuse(constant: str) -> None:
    """Reject ``NaN`` and ``Infinity``, which are no JSON and which databases refuse."""
    raise ValueError(constant)


def _fault_of_exit(ending: _Ending, limits: Limits) -> Fault:
    """Tell the cause from the way a child ended that this process did not kill."""
    if ending.returncode == -signal.SIGXCPU or ending.cpu_seconds >= limits.cpu_seconds:
        return Fault(FaultCode.LIMIT_TIME)
    if ending.returncode == -signal.SIGXFSZ:
        return Fault(FaultCode.LIMIT_OUTPUT)
    # Native engines abort when an allocation fails, and the kernel kills when memory runs out.
    is_large = ending.usage.peak_bytes >= _MEMORY_SUSPECT_SHARE * limits.memory_bytes
    if is_large and ending.returncode in {-signal.SIGABRT, -signal.SIGKILL, -signal.SIGSEGV}:
        return Fault(FaultCode.LIMIT_MEMORY)
    if ending.returncode < 0:
        return Fault(FaultCode.READER_CRASHED, detail=f"signal {-ending.returncode}")
    return Fault(FaultCode.READER_CRASHED, detail=f"exit status {ending.returncode}")
