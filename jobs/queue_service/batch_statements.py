"""What an attempt costs on PostgreSQL: statements that are a transaction each, one way there and back.

They are written out, because to build and compile them took as long as to run them. Ids travel as text: an
object for each of them would be made twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import sqlalchemy as sa

from jobs.rows import DOCUMENT_COLUMNS, ITEM_COLUMNS
from jobs.tables import Id, Json, UtcDateTime

_IDS = frozenset({"id", "document_id", "owner_id"})

_CLAIM = """
WITH claimed AS (
    UPDATE queue_items
    SET status = 'in_progress', attempt = attempt + 1, worker = :worker, lease_id = :lease_id,
        lease_expires_at = extract(epoch FROM clock_timestamp()) + :lease_seconds, lease_boot = 'server',
        suspect_at = NULL, started_at = {started_at}, updated_at = clock_timestamp()
    WHERE id = ANY (ARRAY(
        SELECT id FROM queue_items
        WHERE queue = :queue AND segment = 'open' AND status = 'pending' AND due_at <= clock_timestamp()
            AND cancel_requested_at IS NULL
            AND NOT EXISTS (SELECT FROM queues WHERE name = :queue AND paused_at IS NOT NULL)
        ORDER BY {order}
        LIMIT {most}
        -- Claims at the same moment take different items instead of waiting for each other.
        FOR UPDATE SKIP LOCKED
    )) AND status = 'pending'
    RETURNING *
), claim AS (
    INSERT INTO claims (lease_id, worker, item_ids, claimed_at)
    SELECT :lease_id, :worker, array_agg(id), clock_timestamp() FROM claimed HAVING count(*) > 0
), begun AS (
    INSERT INTO attempts (item_id, attempt, lease_id, worker, host, pid, started_at)
    SELECT id, attempt, :lease_id, :worker, :host, :pid, clock_timestamp() FROM claimed
), told AS (
    INSERT INTO events (item_id, document_id, owner_id, kind, attempt, at, data, lease_id)
    SELECT id, document_id, owner_id, 'started', attempt, clock_timestamp(), :data, :lease_id FROM claimed
)
SELECT {columns} FROM {source}"""

_SETTLE = """
WITH settled AS (
    UPDATE queue_items
    SET {values}, announced_at = NULL, error_code = NULL, error_message = NULL, worker = NULL,
        lease_id = NULL, lease_expires_at = NULL, lease_boot = NULL, suspect_at = NULL, started_at = NULL,
        updated_at = clock_timestamp()
    WHERE id = ANY (CAST(:ids AS uuid[])) AND status = 'in_progress' AND lease_id = :lease_id {guard}
    RETURNING id, document_id, owner_id, attempt, stage, due_at
), history AS (
    UPDATE attempts
    SET ended_at = clock_timestamp(), outcome = :outcome, peak_memory_bytes = :peak, stage = settled.stage
    FROM settled
    WHERE item_id = settled.id AND attempts.attempt = settled.attempt AND lease_id = :lease_id
), freed AS (
    DELETE FROM slots USING settled WHERE item_id = settled.id
), told AS (
    INSERT INTO events (item_id, document_id, owner_id, kind, attempt, at, data, lease_id)
    SELECT id, document_id, owner_id, :kind, attempt, clock_timestamp(), {told}, :lease_id FROM settled
){more}
SELECT CAST(id AS text) FROM settled"""

_RENEW = """
WITH renewed AS (
    UPDATE queue_items
    SET lease_expires_at = extract(epoch FROM clock_timestamp()) + :lease_seconds, lease_boot = 'server',
        suspect_at = NULL, stage = coalesce(:stage, stage), progress = coalesce(:progress, progress),
        page = :page, page_count = :page_count,
        started_at = CASE WHEN :begins THEN coalesce(started_at, clock_timestamp()) ELSE started_at END,
        updated_at = clock_timestamp()
    WHERE id = :id AND status = 'in_progress' AND attempt = :attempt AND lease_id = :lease_id
    RETURNING *
), told AS (
    INSERT INTO events (item_id, document_id, owner_id, kind, attempt, at, data, lease_id)
    SELECT id, document_id, owner_id, 'progress', attempt, clock_timestamp(),
        CASE WHEN page_count IS NULL
            THEN json_build_object('status', status, 'stage', stage, 'progress', progress)
            ELSE json_build_object('status', status, 'stage', stage, 'progress', progress,
                'page', page, 'page_count', page_count)
        END, lease_id
    FROM renewed
)
SELECT cancel_requested_at FROM renewed"""

# A password is needed until the item is completed.
_UNSEALED = """options = CASE WHEN options LIKE '%"sealed"%'
        THEN CAST(CAST(options AS jsonb) - 'sealed' AS text) ELSE options END"""

# Seen as they were before the statement, the items that it ends are still held.
_FORGET = """, gone AS (
    DELETE FROM claims
    WHERE lease_id = :lease_id AND NOT EXISTS (
        SELECT FROM queue_items AS held
        WHERE held.id = ANY (ARRAY(SELECT unnest(claims.item_ids) EXCEPT SELECT unnest(CAST(:ids AS uuid[]))))
            AND held.lease_id = :lease_id AND held.status = 'in_progress'
    )
)"""


@cache
def claim_line(*, longest_waiting: bool, single: bool) -> sa.TextualSelect:
    """Return the statement that claims the head of a line.

    It takes ``queue``, ``worker``, ``lease_id``, ``lease_seconds``, ``host``, ``pid`` and ``data``; and
    ``most``, unless it is for a single one.

    Args:
        longest_waiting: in the order of the due times, not in that of the line.
        single: one item is claimed, counts as started, and its document is wanted at once.

    Returns:
        Selects the items claimed, in no order, as :data:`jobs.rows.ITEM_COLUMNS`; a single one's is followed
        by its document's :data:`jobs.rows.DOCUMENT_COLUMNS`.
    """
    wanted = [("claimed", column) for column in ITEM_COLUMNS]
    if single:
        wanted += [("documents", column) for column in DOCUMENT_COLUMNS]
    statement = _CLAIM.format(
        # A number that is known is planned for once, not for every claim.
        most="1" if single else ":most",
        started_at="clock_timestamp()" if single else "NULL",
        order="due_at, id" if longest_waiting else "priority DESC, turn, id",
        columns=", ".join(_plainly(table, column.name) for table, column in wanted),
        source="claimed" + (" JOIN documents ON documents.id = claimed.document_id" if single else ""),
    )
    columns = _plain_columns("claimed", ITEM_COLUMNS)
    if single:
        columns += _plain_columns("documents", DOCUMENT_COLUMNS)
    return sa.text(statement).bindparams(sa.bindparam("data", type_=Json)).columns(*columns)


@cache
def settle_batch(*, completed: bool) -> sa.TextualSelect:
    """Return the statement that ends attempts of one claim: completed, or handed back uncounted.

    It takes ``ids`` (see :func:`id_array`), ``lease_id``, ``outcome``, ``kind``, ``data`` and ``peak``.

    Args:
        completed: whether they are; if not, an item that is to be cancelled is left alone.

    Returns:
        Selects the ids of the items that it found held.
    """
    if completed:
        values, guard, more, told = (
            "status = 'completed', progress = 1, finished_at = clock_timestamp(), " + _UNSEALED,
            "",
            _FORGET,
            ":data",
        )
    else:
        values, guard, more, told = (
            "status = 'pending', due_at = clock_timestamp()",
            "AND cancel_requested_at IS NULL",
            "",
            "CAST(CAST(:data AS jsonb) || jsonb_build_object('due_at', due_at) AS json)",
        )
    statement = _SETTLE.format(values=values, guard=guard, more=more, told=told)
    return (
        sa.text(statement).bindparams(sa.bindparam("data", type_=Json)).columns(sa.column("id", sa.String()))
    )


@cache
def renew_and_tell() -> sa.TextualSelect:
    """Return the statement that prolongs a lease and writes down how far its attempt is.

    It takes ``id``, ``attempt``, ``lease_id``, ``lease_seconds``, ``stage``,
    ``progress``, ``page`` and ``page_count``, each ``None``
    when it is as before, and ``begins``, whether the attempt has begun to run.

    Returns:
        Selects when a cancel was asked for; nothing when the lease is lost.
    """
    known: tuple[sa.BindParameter[Any], ...] = (
        sa.bindparam("id", type_=Id),
        sa.bindparam("stage", type_=sa.String()),
        sa.bindparam("progress", type_=sa.Double()),
        sa.bindparam("begins", type_=sa.Boolean()),
        sa.bindparam("page", type_=sa.Integer()),
        sa.bindparam("page_count", type_=sa.Integer()),
    )
    return sa.text(_RENEW).bindparams(*known).columns(sa.column("cancel_requested_at", UtcDateTime()))


def _plain_columns(table: str, columns: Sequence[sa.ColumnElement[Any]]) -> list[sa.ColumnClause[Any]]:
    """Return the columns of a result whose values need no work in Python; see :func:`_plainly`."""
    return [sa.column(f"{table}_{column.name}", _plain_type(column)) for column in columns]


def _plainly(table: str, name: str) -> str:
    """Spell a column of a result: ids as text, without an object made of each."""
    return f"CAST({table}.{name} AS text)" if name in _IDS else f"{table}.{name}"


def _plain_type(column: sa.ColumnElement[Any]) -> sa.types.TypeEngine[Any]:
    """Return a type whose values need no work in Python: instants come in UTC, as the connection is set."""
    if isinstance(column.type, UtcDateTime):
        return sa.DateTime(timezone=True)
    return sa.String() if column.name in _IDS else column.type


def id_array(ids: Sequence[str]) -> str:
    """Spell ids as PostgreSQL spells an array."""
    return "{" + ",".join(ids) + "}"
