"""Answers kept for an ``Idempotency-Key``, so that a request that is sent twice acts once.

A request takes the **turn** of its key by inserting a row; the primary key (owner, key) lets one through.
What it changes and its answer are then committed together, guarded by the turn's random token: after a
crash either both are there, and a repeat is answered from the row, or neither is, and the turn passes to
a repeat when its time is over. A request that was late finds its token gone and takes everything back.

Only answers of requests that changed something are kept. Whatever was refused has changed nothing, so
its key is free again: the same request, or a corrected one, may be sent under it.
Source: draft-ietf-httpapi-idempotency-key-header-07; Stripe's API keeps no answer of a request that failed
validation or met a conflict either.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
import structlog
from sqlalchemy.dialects import postgresql, sqlite

from jobs.database import Clock
from jobs.errors import KeyInFlight, KeyReused
from jobs.free_space import telling_full_database
from jobs.model import JSON, UserId
from jobs.settings import Settings
from jobs.tables import idempotency_keys

# How long a request may take from its turn to its commit before a repeat may take over.
TURN_SECONDS = 60.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Turn:
    """The right to answer for a key. Only :meth:`IdempotencyKeys.begin` makes one."""

    owner: UserId
    key: str
    token: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request was answered: the status, the headers that tell of it, and the JSON body."""

    status: int
    headers: dict[str, str]
    body: JSON


class IdempotencyKeys:
    """The table of keys.

    Args:
        engine: the database.
        settings: how long answers are kept.
    """

    def __init__(self, engine: sa.Engine, settings: Settings) -> None:
        self._engine = engine
        self._kept_seconds = settings.idempotency_hours * 3600
        self._clock = Clock(engine.dialect.name)

    def begin(self, owner: UserId, key: str, fingerprint: str) -> Turn | Answer:
        """Take the turn of a key, or find what was answered.

        Args:
            owner: whose key it is; others' keys are unrelated.
            key: 1 to 255 characters.
            fingerprint: the SHA-256, in hexadecimal, of all that the request says.

        Returns:
            The turn, to be answered with :meth:`answer_in` or given back by :meth:`held`; or the answer
            that the same request had before.

        Raises:
            KeyInFlight: the same request is being answered just now.
            KeyReused: the key was used for another request.
            StorageFull: the database's disk is full.
        """
        turn = Turn(owner, key, secrets.token_hex(16))
        with telling_full_database(), self._engine.begin() as connection:
            if self._insert(connection, turn, fingerprint):
                return turn
            row = self._read(connection, turn)
            # A row that is gone by now was given back: a moment later the key is free.
            if row is not None and not row.forgotten:
                if row.fingerprint != fingerprint:
                    raise KeyReused("This Idempotency-Key was used for another request; take a new one.")
                if row.status is not None:
                    return Answer(row.status, row.headers, row.body)
            if (
                row is not None
                and not row.locked
                and self._take_over(connection, turn, fingerprint, row.token)
            ):
                return turn
        raise _in_flight()

    @contextlib.contextmanager
    def held(self, turn: Turn) -> Iterator[None]:
        """Give the turn back when the block raises; what is answered by then stays answered."""
        try:
            yield
        except sa.exc.SQLAlchemyError:
            # The database does not answer, or nobody knows whether it has committed: the turn ends by
            # itself, and whoever waits is not made to wait for a second timeout.
            raise
        except BaseException:
            self._give_back(turn)
            raise

    def answer_in(self, connection: sa.Connection, turn: Turn, answer: Answer) -> None:
        """Keep the answer, in the transaction of what it tells.

        Args:
            connection: in the writing transaction.
            turn: of the key.
            answer: what will be sent.

        Raises:
            KeyInFlight: the turn is over and has passed to a repeat; the transaction must be rolled back.
        """
        kept = connection.execute(
            sa.update(idempotency_keys)
            .where(*_guard(turn.owner, turn.key, turn.token), idempotency_keys.c.status.is_(None))
            .values(status=answer.status, headers=answer.headers, body=answer.body)
        )
        if kept.rowcount != 1:
            raise _in_flight()

    def _insert(self, connection: sa.Connection, turn: Turn, fingerprint: str) -> bool:
        insert = postgresql.insert if self._clock.dialect == "postgresql" else sqlite.insert
        statement = (
            insert(idempotency_keys)
            .values(
                owner_id=turn.owner,
                key=turn.key,
                fingerprint=fingerprint,
                token=turn.token,
                locked_until=self._clock.after(TURN_SECONDS),
                created_at=self._clock.now,
            )
            .on_conflict_do_nothing(index_elements=["owner_id", "key"])
            .returning(idempotency_keys.c.key)
        )
        return connection.execute(statement).one_or_none() is not None

    def _read(self, connection: sa.Connection, turn: Turn) -> sa.Row[*tuple[Any, ...]] | None:
        locked = sa.and_(
            idempotency_keys.c.status.is_(None), idempotency_keys.c.locked_until > self._clock.now
        )
        old = idempotency_keys.c.created_at <= self._clock.after(-self._kept_seconds)
        return connection.execute(
            sa.select(
                *idempotency_keys.c,
                locked.label("locked"),
                sa.and_(old, sa.not_(locked)).label("forgotten"),
            ).where(idempotency_keys.c.owner_id == turn.owner, idempotency_keys.c.key == turn.key)
        ).one_or_none()

    def _take_over(self, connection: sa.Connection, turn: Turn, fingerprint: str, token: str) -> bool:
        """Take the turn from a request that died, or whose answer is forgotten; guarded by its token."""
        statement = (
            sa.update(idempotency_keys)
            .where(
                *_guard(turn.owner, turn.key, token),
                # Everything else that made it free only a new token can undo, or an answer that came late.
                sa.or_(
                    idempotency_keys.c.status.is_(None),
                    idempotency_keys.c.created_at <= self._clock.after(-self._kept_seconds),
                ),
            )
            .values(
                fingerprint=fingerprint,
                token=turn.token,
                locked_until=self._clock.after(TURN_SECONDS),
                created_at=self._clock.now,
                status=None,
                # A plain None would be stored as JSON's null.
                headers=sa.null(),
                body=sa.null(),
            )
        )
        return connection.execute(statement).rowcount == 1

    def _give_back(self, turn: Turn) -> None:
        statement = sa.delete(idempotency_keys).where(
            *_guard(turn.owner, turn.key, turn.token), idempotency_keys.c.status.is_(None)
        )
        try:
            with self._engine.begin() as connection:
                connection.execute(statement)
        except sa.exc.SQLAlchemyError:
            log.warning("idempotency_key_not_given_back")


def _guard(owner: UserId, key: str, token: str) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        idempotency_keys.c.owner_id == owner,
        idempotency_keys.c.key == key,
        idempotency_keys.c.token == token,
    )


def _in_flight() -> KeyInFlight:
    return KeyInFlight(
        "The first request with this Idempotency-Key is still being answered. Send it again in a moment."
    )
