"""Run one reader in a process of its own, watch its time and memory, and leave nothing behind.

The child gets an empty environment, no descriptor but the progress pipe, its own session and an
empty scratch folder. Its result is a file in that folder, read back as untrusted JSON. It is forked
by this process's fork server (``warm``) or started as a program (``children``); what it may do, how
it is watched and how its end is told are the same. A program dies with the thread that started it,
so ``run`` belongs into a thread that outlives the call.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import selectors
import shutil
import signal
import stat
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs.extraction import warm
from jobs.extraction.children import CHILD_PROGRAM, Child, ColdChild, Exit
from jobs.extraction.faults import Fault, FaultCode
from jobs.extraction.harvest import Harvest
from jobs.extraction.memory import MemoryWatch
from jobs.extraction.progress import LONGEST_LINE, Progress
from jobs.extraction.result import Limits
from jobs.model import JSON

REQUEST_NAME = "request.json"
RESULT_NAME = "result.json"

# A fork server that has just died is replaced by another.
_WARM_TRIES = 2
_TICK_SECONDS = 0.05
# Where nothing tells of a child's death, this often after it has closed its pipe.
_SHORT_TICK_SECONDS = 0.005
# How often on_progress is called even when nothing moved: it is also how the caller says stop.
_HEARTBEAT_SECONDS = 1.0
_PIPE_BYTES = 65_536
_MEMORY_SUSPECT_SHARE = 0.7
_NOTE = re.compile(r"[A-Za-z0-9_.:/ -]{1,200}")


@dataclass(frozen=True, slots=True)
class Usage:
    """What a child used: wall seconds and the peak of resident memory in bytes."""

    seconds: float
    peak_bytes: int


@dataclass(frozen=True, slots=True)
class _Ending:
    exit: Exit
    usage: Usage


def run(
    request: dict[str, JSON],
    *,
    limits: Limits,
    seconds: float,
    on_progress: Callable[[Progress], None],
    program: Sequence[str] | None = None,
    take_over: Callable[[Path, dict[str, JSON]], None] | None = None,
    harvest: Harvest | None = None,
    patience: Patience | None = None,
) -> tuple[dict[str, JSON], Usage]:
    """Start a child, wait for it and return the JSON object that it wrote.

    Args:
        request: what the child shall do; it finds it in its scratch folder.
        limits: the bounds, already part of the request as well.
        seconds: wall-clock time after which the child is killed.
        on_progress: called with how far the child is, at least once a second; whatever it
            raises ends the child and reaches the caller.
        program: the command to start instead of asking the fork server, which is asked with
            ``None``; it gets the scratch folder, the progress descriptor and this process's id as
            its last three arguments.
        take_over: called with the scratch folder and the child's object, before the folder goes.
        harvest: takes the pages that the child delivers on its way.
        patience: how long the child may be without news.

    Raises:
        Fault: when the child reached a limit, crashed, or wrote no valid result.
    """
    try:
        scratch = Path(tempfile.mkdtemp(prefix="extraction-"))
    except OSError as error:
        raise Fault(FaultCode.ENVIRONMENT, note=type(error).__name__) from error
    watch = _Watch(limits, seconds, _Meter(on_progress, scratch, harvest), patience)
    try:
        ending = _run_in(scratch, request, watch, program)
        answer = _read_result(scratch, ending, limits)
        if take_over is not None:
            take_over(scratch, answer)
    except Fault:
        watch.meter.collect()
        raise
    else:
        return answer, ending.usage
    finally:
        _remove(scratch)


def _remove(scratch: Path) -> None:
    """Delete a scratch folder, whatever its child has made of it."""
    try:
        shutil.rmtree(scratch, ignore_errors=True)
    except RecursionError:
        # Folders in folders, more than can be walked: each is brought to the top and its shell deleted.
        _flatten(scratch)
        shutil.rmtree(scratch, ignore_errors=True)


def _flatten(folder: Path) -> None:
    """Leave no folder in a folder of this folder."""
    number = 0
    heap = list(folder.iterdir())
    while heap:
        shell = heap.pop()
        if shell.is_symlink() or not shell.is_dir():
            continue
        for inner in list(shell.iterdir()):
            number += 1
            with contextlib.suppress(OSError):
                heap.append(inner.rename(folder / f"taken-{number}"))


def _run_in(
    scratch: Path,
    request: dict[str, JSON],
    watch: _Watch,
    program: Sequence[str] | None,
) -> _Ending:
    try:
        (scratch / REQUEST_NAME).write_text(json.dumps(request), encoding="utf-8")
    except OSError as error:
        raise Fault(FaultCode.ENVIRONMENT, note=type(error).__name__) from error
    if program is None:
        for _ in range(_WARM_TRIES):
            with contextlib.suppress(warm.NotStarted):
                return _run_child(warm.start, scratch, watch)
    start = functools.partial(ColdChild, program or CHILD_PROGRAM)
    return _run_child(start, scratch, watch)


def _run_child(
    start: Callable[[Path, int], Child],
    scratch: Path,
    watch: _Watch,
) -> _Ending:
    read_end, write_end = os.pipe()
    child: Child | None = None
    try:
        try:
            child = start(scratch, write_end)
        except OSError as error:
            raise Fault(FaultCode.ENVIRONMENT, note=type(error).__name__) from error
        os.close(write_end)
        write_end = -1
        return _wait(child, read_end, watch)
    finally:
        # Also the way out when RQ's job timeout or on_progress raises in the middle of the wait.
        if child is not None:
            child.end()
        os.close(read_end)
        if write_end >= 0:
            os.close(write_end)


def _wait(child: Child, read_end: int, watch: _Watch) -> _Ending:
    os.set_blocking(read_end, False)
    started = time.monotonic()
    memory: MemoryWatch | None = None
    meter = watch.meter
    with contextlib.ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        selector.register(read_end, selectors.EVENT_READ)
        if child.fileno() >= 0:
            selector.register(child, selectors.EVENT_READ)
        while True:
            ready = selector.select(_TICK_SECONDS if selector.get_map() else _SHORT_TICK_SECONDS)
            if any(key.fd == read_end for key, _events in ready) and not meter.read(read_end):
                selector.unregister(read_end)
            ended = child.collect()
            if memory is None and child.pid is not None:
                # The document's time begins with its child, not with a fork server's own start.
                memory, started = MemoryWatch(child.pid), time.monotonic()
                stack.callback(memory.tell)
            if memory is not None and ended is not None:
                # What it has told last says which page it did not survive.
                meter.read(read_end)
                memory.peak_bytes = max(ended.peak_bytes, memory.peak_bytes)
                return _Ending(ended, Usage(time.monotonic() - started, memory.peak_bytes))
            if memory is not None:
                if memory.sample() > watch.limits.memory_bytes:
                    raise Fault(FaultCode.LIMIT_MEMORY)
                if time.monotonic() - started > watch.seconds or watch.is_stuck(started):
                    raise Fault(FaultCode.LIMIT_TIME)
            meter.beat()


class _Meter:
    """Pass the child's progress lines on, never backwards, and beat once a second without them."""

    def __init__(
        self, on_progress: Callable[[Progress], None], scratch: Path, harvest: Harvest | None
    ) -> None:
        self._on_progress = on_progress
        self._scratch = scratch
        self._harvest = harvest
        self._rest = b""
        self._told_at = self._collected_at = time.monotonic()
        self._is_news = False
        self.at = Progress(0.0)
        self.news_at = 0.0

    def read(self, descriptor: int) -> bool:
        """Take what the pipe holds; return ``False`` at its end."""
        try:
            chunk = os.read(descriptor, _PIPE_BYTES)
        except BlockingIOError:
            return True
        *lines, rest = (self._rest + chunk).split(b"\n")
        self._rest = rest[-LONGEST_LINE:]
        for line in lines[-1:]:
            # The child is not trusted: whatever is no progress, or goes backwards, is dropped.
            with contextlib.suppress(ValueError):
                told = Progress.from_line(line)
                if told.follows(self.at):
                    self.at, self._is_news, self.news_at = told, True, time.monotonic()
        return bool(chunk)

    def beat(self) -> None:
        """Tell news, or the old share once a second."""
        now = time.monotonic()
        if now - self._collected_at >= _HEARTBEAT_SECONDS:
            self.collect()
        if self._is_news or now - self._told_at >= _HEARTBEAT_SECONDS:
            self._is_news, self._told_at = False, now
            self._on_progress(self.at)

    def collect(self) -> None:
        """Take the pages that the child has delivered."""
        if self._harvest is not None:
            self._collected_at = time.monotonic()
            self._harvest.at = self.at
            self._harvest.collect(self._scratch)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a child may be without news, in seconds.

    Attributes:
        page: while it has one page in hand.
        whole: while it has not.
    """

    page: float
    whole: float


@dataclass(frozen=True, slots=True)
class _Watch:
    limits: Limits
    seconds: float
    meter: _Meter
    patience: Patience | None

    def is_stuck(self, started: float) -> bool:
        """Say whether the child is without news for too long; it began at ``started``."""
        if self.patience is None:
            return False
        silent = time.monotonic() - max(self.meter.news_at, started)
        return silent > (self.patience.page if self.meter.at.at_page else self.patience.whole)


def _read_result(scratch: Path, ending: _Ending, limits: Limits) -> dict[str, JSON]:
    if ending.exit.returncode != 0:
        raise _fault_of_exit(ending, limits)
    try:
        # Not a link, and not a pipe on which nobody writes.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(scratch / RESULT_NAME, flags)
        try:
            is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
            data = _read_all(descriptor, limits.result_bytes + 1) if is_file else b""
        finally:
            os.close(descriptor)
        value = json.loads(data, parse_constant=_refuse) if len(data) <= limits.result_bytes else None
    except (OSError, ValueError, RecursionError) as error:
        note = type(error).__name__
        raise Fault(FaultCode.READER_CRASHED, detail="no valid result", note=note) from error
    if not isinstance(value, dict):
        raise Fault(FaultCode.READER_CRASHED, detail="no valid result")
    return value


def fault_of(answer: dict[str, JSON]) -> Fault:
    """Read the child's fault; a code that is not on the list counts as a crash."""
    note = answer.get("note")
    is_clean = isinstance(note, str) and _NOTE.fullmatch(note)
    try:
        code = FaultCode(str(answer["fault"]))
    except ValueError:
        return Fault(FaultCode.READER_CRASHED, detail="no valid result")
    return Fault(code, note=str(note) if is_clean else "")


def _read_all(descriptor: int, most: int) -> bytes:
    """Read a file to its end, or so many bytes."""
    parts: list[bytes] = []
    while most > 0 and (part := os.read(descriptor, most)):
        parts.append(part)
        most -= len(part)
    return b"".join(parts)


def _refuse(constant: str) -> None:
    """Reject ``NaN`` and ``Infinity``, which are no JSON and which databases refuse."""
    raise ValueError(constant)


def _fault_of_exit(ending: _Ending, limits: Limits) -> Fault:
    """Tell the cause from the way a child ended that this process did not kill."""
    returncode = ending.exit.returncode
    if returncode == -signal.SIGXCPU or ending.exit.cpu_seconds >= limits.cpu_seconds:
        return Fault(FaultCode.LIMIT_TIME)
    if returncode == -signal.SIGXFSZ:
        return Fault(FaultCode.LIMIT_OUTPUT)
    # Native engines abort when an allocation fails, and the kernel kills when memory runs out.
    is_large = ending.usage.peak_bytes >= _MEMORY_SUSPECT_SHARE * limits.memory_bytes
    if is_large and returncode in {-signal.SIGABRT, -signal.SIGKILL, -signal.SIGSEGV}:
        return Fault(FaultCode.LIMIT_MEMORY)
    if returncode == -signal.SIGSYS:
        return Fault(FaultCode.FORBIDDEN)
    if returncode < 0:
        return Fault(FaultCode.READER_CRASHED, detail=f"signal {-returncode}")
    return Fault(FaultCode.READER_CRASHED, detail=f"exit status {returncode}")
