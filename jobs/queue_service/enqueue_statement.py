"""How new documents come into the lines on PostgreSQL: one statement, however many there are.

It is written out, as :mod:`jobs.queue_service.batch_statements` is and for the same reasons; each thing that
is known of the new items travels as one array.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import sqlalchemy as sa

from jobs.queue_service.batch_statements import plain_columns, plainly
from jobs.rows import ITEM_COLUMNS

_ITEM_ARRAYS = {
    "item_id": "uuid", "document_id": "uuid", "owner_id": "uuid", "operation": "text", "priority": "integer",
    "queue": "text", "due_at": "timestamptz", "delay_seconds": "double precision", "max_failures": "integer",
}  # fmt: skip
DOCUMENT_ARRAYS = {"sha256": "text", "size": "bigint", "filename": "text", "media_type": "text"}

# Of what comes to the same line, the first follows its owner's last that waits there, and is never before the
# head of the line. Of an owner and of nobody by different conditions: each is answered by the index.
_ENQUEUE = """
WITH sent AS MATERIALIZED (
    SELECT *, row_number() OVER (PARTITION BY queue, owner_id, priority ORDER BY place) - 1 AS behind
    FROM unnest({arrays}) WITH ORDINALITY AS sent ({names}, place)
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
        announced_at, attempt, failures, crashes, max_failures, progress, queue, turn, deferred
    )
    SELECT item_id, document_id, sent.owner_id, operation, 'pending', priority, false, due.at, now, now,
        -- The caller rings right after the commit; the sweep rings again if it could not.
        now, 0, 0, 0, max_failures, 0, queue, first + behind, due.at > now
    FROM sent
    JOIN lines USING (queue, priority)
    CROSS JOIN present
    CROSS JOIN LATERAL (SELECT greatest(now, due_at) + make_interval(secs => delay_seconds) AS at) AS due
    WHERE lines.owner_id IS NOT DISTINCT FROM sent.owner_id
    ORDER BY place
    RETURNING *
), told AS (
    INSERT INTO events (item_id, document_id, owner_id, kind, attempt, at, data)
    SELECT id, document_id, owner_id, 'accepted', 0, created_at,
        json_build_object('status', status, 'operation', operation)
    FROM made ORDER BY turn, id
)
SELECT {columns} FROM made"""

_DOCUMENTS = """, forgotten AS (
    DELETE FROM unreferenced_bytes WHERE sha256 = ANY (CAST(:sha256 AS text[]))
), kept AS (
    INSERT INTO documents (id, owner_id, sha256, size, filename, media_type, created_at)
    SELECT document_id, sent.owner_id, sha256, size, filename, media_type, now
    FROM sent CROSS JOIN present ORDER BY place
)"""


@cache
def enqueue_new(*, with_documents: bool) -> sa.TextualSelect:
    """Return the statement that inserts new items, with their events.

    It takes :func:`arrays_of` what is new.

    Args:
        with_documents: their documents are inserted as well, and that nobody named their bytes is forgotten.

    Returns:
        Selects the items, in no order, as :data:`jobs.rows.ITEM_COLUMNS`.
    """
    arrays = _ITEM_ARRAYS | (DOCUMENT_ARRAYS if with_documents else {})
    statement = _ENQUEUE.format(
        arrays=", ".join(f"CAST(:{name} AS {kind}[])" for name, kind in arrays.items()),
        names=", ".join(arrays),
        documents=_DOCUMENTS if with_documents else "",
        columns=", ".join(plainly("made", column.name) for column in ITEM_COLUMNS),
    )
    return sa.text(statement).columns(*plain_columns("made", ITEM_COLUMNS))


def arrays_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Turn rows into what the statement takes: a list for each column of theirs."""
    return {name: [row[name] for row in rows] for name in rows[0]}
