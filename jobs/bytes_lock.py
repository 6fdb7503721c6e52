"""The lock on bytes, which keeps an upload and the deletion of the same bytes apart.

A file is deleted under the lock, after a look that no document names it. Whoever is about to insert a
document takes the lock first and looks whether the file is still there: one of the two comes first,
and no order ends as a document without its bytes.

On SQLite the write transaction is the lock; there is only one at a time.
"""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa

# Row by row, in the order of the array. Counted, so that nothing needs to be sent back for each.
_LOCK_ALL = sa.select(
    sa.func.count(
        sa.func.pg_advisory_xact_lock(
            sa.func.unnest(sa.bindparam("keys", type_=sa.ARRAY(sa.BigInteger()))).column_valued("key")
        )
    )
)


def hold_bytes(connection: sa.Connection, hashes: Iterable[str]) -> None:
    """Keep bytes from being deleted until this transaction ends.

    To be called before documents are inserted. A file may have been deleted before: look afterwards
    whether it exists, and store it again when it does not.

    Args:
        connection: in a writing transaction, which then inserts the documents.
        hashes: the SHA-256 of every document's bytes; all in one call, so that two uploads of the same
            files wait for each other in the same order.
    """
    if connection.dialect.name == "postgresql":
        keys = [_key_number(sha256) for sha256 in sorted(set(hashes))]
        connection.execute(_LOCK_ALL, {"keys": keys})


def try_to_hold_bytes(connection: sa.Connection, sha256: str) -> bool:
    """Take the lock on some bytes without waiting.

    Args:
        connection: in a writing transaction.
        sha256: the bytes.

    Returns:
        Whether they are ours until the transaction ends; if not, somebody uploads them just now.
    """
    if connection.dialect.name != "postgresql":
        return True
    return bool(connection.execute(sa.select(sa.func.pg_try_advisory_xact_lock(_key(sha256)))).scalar_one())


def _key(sha256: str) -> sa.ColumnElement[int]:
    return sa.literal(_key_number(sha256), sa.BigInteger())


def _key_number(sha256: str) -> int:
    return int.from_bytes(bytes.fromhex(sha256[:16]), "big", signed=True)
