"""Keeps the leases of a process alive while it works, and tells an attempt when it has to stop.

One thread renews whatever is held in one statement; it costs the same for one item and for a hundred.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

import sqlalchemy as sa
import structlog

from jobs.errors import Cancelled, LeaseLost
from jobs.model import Checkpoint, Lease, PartialResult
from jobs.queue_service import DocumentQueueService
from jobs.settings import Settings

log = structlog.get_logger()

# Work stops by itself when no renewal has landed for this part of a lease: by then it may be somebody else's.
_TRUSTED_PART_OF_LEASE = 0.8
# Progress is an event row; more than a few in a second tell nobody more.
_PROGRESS_EVERY_SECONDS = 0.5
_PAGES_EVERY_SECONDS, _PAGES_PAUSE = 2.0, 20.0
# Of a long document so much is kept while it is read.
_PAGES_CHARS = 1_000_000
# A waiting person should not wait a whole heartbeat for a cancel.
_LOOK_SECONDS = 2.0
_TICK_SECONDS = 0.1
# What is over sooner is not worth a commit of its own: neither the word that a stage runs nor its product,
# which is written down with what comes next.
_BRIEF_SECONDS = 0.25


class OutOfTime(Exception):
    """An attempt took longer than its operation may."""


class Keeper:
    """The thread that renews the leases of this process; it begins with the first of them.

    Args:
        service: the queue.
        settings: how long a lease lasts, and how often it is renewed.
        on_tick: called by the thread several times a second while anything is held; it must not raise.

    Attributes:
        writing: to be held by whoever else in this process writes several of these leases at once.
    """

    def __init__(
        self,
        service: DocumentQueueService,
        settings: Settings,
        on_tick: Callable[[], None] | None = None,
    ) -> None:
        self.service = service
        self.settings = settings
        self._on_tick = on_tick
        # Held while many rows are written: two statements of one process that lock the same rows in different
        # orders would wait for each other.
        self.writing = threading.Lock()
        self._changed = threading.Condition()
        self._held: dict[str, Heartbeat] = {}
        self._asleep = False
        self._renewed_at = time.monotonic()
        self._thread: threading.Thread | None = None
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def keep(self, leases: Sequence[Lease]) -> None:
        """Begin to renew leases that were granted a moment ago."""
        with self._changed:
            if not self._held:
                self._renewed_at = time.monotonic()
            for lease in leases:
                self._held[lease.item.id] = Heartbeat(self, lease)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
                self._thread.start()
            elif self._asleep:
                self._changed.notify()

    def begin(self, lease: Lease) -> Heartbeat:
        """Return the heartbeat of an attempt that begins now."""
        heartbeat = self._held[lease.item.id]
        heartbeat.begin()
        return heartbeat

    def drop(self, leases: Sequence[Lease]) -> None:
        """Stop to renew leases: they are settled, or lost."""
        with self._changed:
            for lease in leases:
                self._held.pop(lease.item.id, None)

    def close(self) -> None:
        """End the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        look_at = 0.0
        pause = min(self.settings.heartbeat_seconds, _LOOK_SECONDS)
        while True:
            with self._changed:
                if not self._held and not self._closed:
                    # Whoever holds something next wakes it; in a busy process that is never needed.
                    self._asleep = True
                    self._changed.wait()
                    self._asleep = False
                    look_at = time.monotonic() + pause
                    # What was claimed a moment ago is looked at a tick later, if it is still there.
                    continue
                if not self._closed:
                    self._changed.wait(min(pause, _TICK_SECONDS))
                if self._closed:
                    return
                held = dict(self._held)
            if self._on_tick is not None:
                self._on_tick()
            for heartbeat in held.values():
                heartbeat.catch_up()
            if held and time.monotonic() >= look_at:
                look_at = time.monotonic() + pause
                self._look(held)

    def _look(self, held: dict[str, Heartbeat]) -> None:
        leases = [heartbeat.lease for heartbeat in held.values()]
        due = time.monotonic() >= self._renewed_at + self.settings.heartbeat_seconds
        try:
            if due:
                with self.writing:
                    kept = self.service.renew_many(leases)
            else:
                kept = self.service.look_after(leases)
        except sa.exc.SQLAlchemyError:
            # The database is away; check() stops the attempt before the lease can be somebody else's.
            log.warning("renewal_failed", items=len(leases))
            return
        if due:
            self._renewed_at = time.monotonic()
        for item_id, heartbeat in held.items():
            heartbeat.note(renewed=due, held=item_id in kept.held, cancelled=item_id in kept.cancelled)


@dataclass
class Heartbeat:
    """What one attempt says and is told; made by :class:`Keeper`.

    Attributes:
        before_stage: called before a stage begins.
        is_settled_with_stages: whether who settles the item writes down the stages that are not yet.
        had_partial: whether pages were kept while others were read.
    """

    keeper: Keeper
    lease: Lease
    before_stage: Callable[[], None] | None = None
    is_settled_with_stages: bool = False
    had_partial: bool = False
    _lost: bool = False
    _cancelled: bool = False
    _renewed_at: float = field(default_factory=time.monotonic)
    _reported_at: float = 0.0
    _reported: float = -1.0
    _page: int = 0
    _pages_at: float = 0.0
    _out_of_time_at: float = float("inf")
    # The stage that runs and those that ended, until somebody has written them down; and who may write.
    _unsaid: str | None = None
    _ended: list[Checkpoint] = field(default_factory=list)
    _entered_at: float = float("-inf")
    _begun: bool = False
    _saying: threading.Lock = field(default_factory=threading.Lock)

    def begin(self) -> None:
        """Let the time of the attempt run."""
        limit = self.keeper.service.policy(self.lease.item.operation).timeout_seconds
        self._reported_at = time.monotonic()
        self._out_of_time_at = self._reported_at + limit

    def enter(self, stage: str, *, at_once: bool = False) -> None:
        """Say which stage begins.

        An attempt that was claimed by itself has begun by its claim. Its stages are written down when they
        last, so that a short one need not wait for a commit.

        Args:
            stage: its name.
            at_once: write it down now, and what ended before.

        Raises:
            LeaseLost: the item is no longer ours.
            Cancelled: a person asked to stop.
        """
        if self.before_stage is not None:
            self.before_stage()
        now = time.monotonic()
        with self._saying:
            self._unsaid, self._entered_at = stage, now
            has_begun = self._begun or self.lease.item.started_at is not None
            if at_once or not has_begun or now - self._renewed_at > _BRIEF_SECONDS:
                self._write_down(0.0)
        self._reported, self._page = 0.0, 0
        self.check()

    def end(self, ended: Checkpoint, *, at_once: bool = False) -> None:
        """Keep what a stage produced: at once if it took long, else with what is written next.

        Args:
            ended: the stage and its product.
            at_once: write it down now, however short it was.

        Raises:
            LeaseLost: the item is no longer ours; nothing was kept.
        """
        with self._saying:
            # Its product says that it ran.
            self._unsaid = None
            self._ended.append(ended)
            if at_once or time.monotonic() - self._entered_at >= _BRIEF_SECONDS:
                self._write_down()

    def write_down(self) -> None:
        """Write down everything that is not yet.

        Raises:
            LeaseLost: the item is no longer ours.
        """
        with self._saying:
            self._write_down()

    def take_ended(self) -> list[Checkpoint]:
        """Return the stages that are not written down, for whoever settles the item to do it."""
        with self._saying:
            ended, self._ended = self._ended, []
        return ended

    def catch_up(self) -> None:
        """Write down what has waited long enough; called by the keeper's thread."""
        with self._saying:
            if time.monotonic() - self._entered_at < _BRIEF_SECONDS:
                return
            try:
                self._write_down()
            except LeaseLost:
                self._lost = True
            except sa.exc.SQLAlchemyError:
                # Whoever ends the stage tries again; the lease is renewed, or not, by its own rules.
                log.warning("progress_not_written", item_id=self.lease.item.id)

    def _write_down(self, progress: float = 0.0, pages: tuple[int, int] | None = None) -> bool:
        """Write down what ended, then what runs; return whether there was anything."""
        ended, stage = self._ended, self._unsaid
        if ended:
            self._note_renewal(self.keeper.service.checkpoint_all(self.lease, ended))
            self._ended = []
        if stage is not None:
            self._unsaid, self._begun = None, True
            self._note_renewal(
                self.keeper.service.renew(self.lease, stage=stage, progress=progress, pages=pages)
            )
        return bool(ended) or stage is not None

    def report(self, progress: float, page: int = 0, page_count: int = 0) -> None:
        """Say how much of the stage is done; writes at most twice a second.

        Args:
            progress: 0 to 1.
            page: how many pages are done.
            page_count: how many there are; 0 when the work has none.

        Raises:
            LeaseLost: the item is no longer ours.
            Cancelled: a person asked to stop.
            OutOfTime: the operation's time limit has passed.
        """
        self.check()
        now = time.monotonic()
        # Less than a percent is no news, unless it is another page.
        is_news = progress - self._reported >= 0.01 or page > self._page
        if now - self._reported_at < _PROGRESS_EVERY_SECONDS or not is_news:
            return
        self._reported_at, self._reported, self._page = now, progress, page
        pages = (page, page_count) if page_count else None
        with contextlib.suppress(sa.exc.OperationalError), self._saying:
            if not self._write_down(progress, pages):
                self._note_renewal(self.keeper.service.renew(self.lease, progress=progress, pages=pages))
        self.check()

    def show_pages(self, texts: Mapping[int, str], page_count: int) -> None:
        """Keep the pages that are read so far where people can read them; every few seconds at most.

        Args:
            texts: the Markdown of the pages by number.
            page_count: how many there are to read.
        """
        now = time.monotonic()
        if now < self._pages_at:
            return
        partial = PartialResult(len(texts), page_count, _beginning(texts))
        with contextlib.suppress(sa.exc.OperationalError):
            self.keeper.service.keep_partial(self.lease, partial)
            self.had_partial = True
        # However long they are, to keep them takes a small part of the time only.
        took = time.monotonic() - now
        self._pages_at = time.monotonic() + max(_PAGES_EVERY_SECONDS, _PAGES_PAUSE * took)

    def check(self) -> None:
        """Stop the attempt if it has to stop.

        Raises:
            LeaseLost: the item is no longer ours, or may not be: no renewal landed for too long.
            Cancelled: a person asked to stop.
            OutOfTime: the operation's time limit has passed.
        """
        silent = time.monotonic() - self._renewed_at
        if self._lost or silent > _TRUSTED_PART_OF_LEASE * self.keeper.settings.lease_seconds:
            raise LeaseLost("Another attempt may hold this item now.")
        if self._cancelled:
            raise Cancelled("Cancelled while it ran.")
        if time.monotonic() > self._out_of_time_at:
            raise OutOfTime

    def note(self, *, renewed: bool, held: bool, cancelled: bool) -> None:
        """Take in what the keeper's thread found.

        Args:
            renewed: whether the lease was prolonged.
            held: whether it is still ours.
            cancelled: whether a person asked to stop.
        """
        self._lost = self._lost or not held
        self._cancelled = self._cancelled or cancelled
        if renewed and held:
            self._renewed_at = time.monotonic()

    def _note_renewal(self, cancelled: bool) -> None:
        self.note(renewed=True, held=True, cancelled=cancelled)


def _beginning(texts: Mapping[int, str]) -> dict[int, str]:
    """Return the first pages, as many as are kept."""
    kept: dict[int, str] = {}
    left = _PAGES_CHARS
    for page in sorted(texts):
        left -= len(texts[page])
        if left < 0:
            break
        kept[page] = texts[page]
    return kept
