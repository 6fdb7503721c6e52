"""How new documents come into the lines on PostgreSQL: one statement, however many there are.

It is written out, as :mod:`jobs.queue_service.batch_statements` is and for the same reasons. Of one new item
each thing travels as a value, of several as one array: for values PostgreSQL makes its plan once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import sqlalchemy as sa

_ITEM_TYPES = {
    "item_id": "uuid", "document_id": "uuid", "owner_id": "uuid", "operation": "text", "priority": "integer",
    "queue": "text", "due_at": "timestamptz", "delay_seconds": "double precision", "max_failures": "integer",
    "options": "text",
}  # fmt: skip
DOCUMENT_TYPES = {"sha256": "text", "size": "bigint", "filename": "text", "media_type": "text"}

# Of what comes to the same line, the first follows its owner's last that waits there, and is never before the
# head of the line. Of an owner and of nobody by different conditions: each is answered by the index.
_ENQUEUE = """
WITH sent AS MATERIALIZED (
    {sent}
), present AS MATERIALIZED (
    SELECT clock_timestamp() AS now
), lines AS MATERIALIZED (
    SELECT queue, owner_id, priority, greatest(
        (SELECT turn FROM queue_items AS item
         WHERE segment = 'open' AND status = 'pending' AND item.queue = line.queue
            AND item.priority = line.priority
         ORDER BY turn, id LIMIT 1),
        1 + CASE WHEN owner_id IS NULL THEN
            (SELECT turn FROM queue_items AS item
             WHERE segment IN ('open', 'scheduled', 'retrying') AND status = 'pending'
                AND item.queue = line.queue AND item.owner_id IS NULL AND item.priority = line.priority
             ORDER BY turn DESC, id DESC LIMIT 1)
        ELSE
            (SELECT turn FROM queue_items AS item
             WHERE segment IN ('open', 'scheduled', 'retrying') AND status = 'pending'
                AND item.queue = line.queue AND item.owner_id = line.owner_id
                AND item.priority = line.priority
             ORDER BY turn DESC, id DESC LIMIT 1)
        END,
        0
    ) AS first
    FROM (SELECT DISTINCT queue, owner_id, priority FROM sent) AS line
){documents}, made AS (
    INSERT INTO queue_items (
        id, document_id, owner_id, operation, status, priority, fresh, due_at, created_at, updated_at,
        announced_at, attempt, failures, crashes, max_failures, progress, queue, turn, deferred,
        options
    )
    SELECT item_id, document_id, sent.owner_id, operation, 'pending', priority, false, due.at, now, now,
        -- The caller rings right after the commit; the sweep rings again if it could not.
        now, 0, 0, 0, max_failures, 0, queue, first + behind, due.at > now, options
    FROM sent
    JOIN lines USING (queue, priority)
    CROSS JOIN present
    CROSS JOIN LATERAL (SELECT greatest(now, due_at) + make_interval(secs => delay_seconds) AS at) AS due
    WHERE lines.owner_id IS NOT DISTINCT FROM sent.owner_id
    ORDER BY place
    RETURNING id, document_id, owner_id, operation, status, due_at, created_at, turn, deferred
), told AS (
    INSERT INTO events (item_id, document_id, owner_id, kind, attempt, at, data)
    SELECT id, document_id, owner_id, 'accepted', 0, created_at,
        json_build_object('status', status, 'operation', operation)
    FROM made ORDER BY turn, id
)
SELECT CAST(id AS text) AS id, due_at, created_at, turn, deferred FROM made"""

_ONE = "SELECT {values}, 0 AS behind, 1 AS place"
_MANY = """SELECT *, row_number() OVER (PARTITION BY queue, owner_id, priority ORDER BY place) - 1 AS behind
    FROM unnest({values}) WITH ORDINALITY AS sent ({names}, place)"""

_DOCUMENTS = """, forgotten AS (
    DELETE FROM unreferenced_bytes USING sent WHERE unreferenced_bytes.sha256 = sent.sha256
), kept AS (
    INSERT INTO documents (id, owner_id, sha256, size, filename, media_type, created_at)
    SELECT document_id, sent.owner_id, sha256, size, filename, media_type, now
    FROM sent CROSS JOIN present ORDER BY place
)"""


@cache
def enqueue_new(*, with_documents: bool, single: bool) -> sa.TextualSelect:
    """Return the statement that inserts new items, with their events.

    It takes :func:`values_of` what is new.

    Args:
        with_documents: their documents are inserted as well, and that nobody named their bytes is forgotten.
        single: there is one of them.

    Returns:
        Selects of each item ``id``, ``due_at``, ``created_at``, ``turn`` and ``deferred``, in no order.
    """
    types = _ITEM_TYPES | (DOCUMENT_TYPES if with_documents else {})
    if single:
        values = ", ".join(f"CAST(:{name} AS {kind}) AS {name}" for name, kind in types.items())
        sent = _ONE.format(values=values)
    else:
        values = ", ".join(f"CAST(:{name} AS {kind}[])" for name, kind in types.items())
        sent = _MANY.format(values=values, names=", ".join(types))
    statement = _ENQUEUE.format(sent=sent, documents=_DOCUMENTS if with_documents else "")
    instant = sa.DateTime(timezone=True)
    return sa.text(statement).columns(
        sa.column("id", sa.String()),
        sa.column("due_at", instant),
        sa.column("created_at", instant),
        sa.column("turn", sa.BigInteger()),
        sa.column("deferred", sa.Boolean()),
    )


def values_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Turn rows into what the statement takes: for each column a list; of a single row its values."""
    if len(rows) == 1:
        return dict(rows[0])
    return {name: [row[name] for row in rows] for name in rows[0]}
