"""Do the tables of the queue grow when a million items pass through them? ``make bench-bloat``.

Waves of items are queued, claimed in batches, settled, and those of the wave before are purged, on
PostgreSQL with nothing but its own autovacuum. What counts is the size of the tables and their indexes after
each tenth of the items, as a ratio to the size after the first.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import sqlalchemy as sa

from benchmarks.page import describe_machine, replace_section
from jobs import accounts, database
from jobs.database import Clock, reading
from jobs.ids import new_id
from jobs.model import DocumentId, UserId
from jobs.queue_service import DocumentQueueService, NewItem
from jobs.settings import load_settings
from jobs.tables import documents
from tests.support.servers import PostgresServer

_BATCH = 500
_TABLES = ("queue_items", "attempts", "events", "claims", "item_count_changes")
_SIZE = sa.text(
    "SELECT relname, pg_total_relation_size(oid) AS bytes FROM pg_class WHERE relname = ANY (:names)"
).bindparams(sa.bindparam("names", type_=sa.ARRAY(sa.Text())))
_HOT = sa.text(
    "SELECT n_tup_hot_upd::float8 / greatest(1, n_tup_upd) FROM pg_stat_user_tables "
    "WHERE relname = 'queue_items'"
)


def pass_through(
    engine: sa.Engine, service: DocumentQueueService, owner: UserId, count: int, before: Sequence[str]
) -> list[str]:
    """Queue items, work them off, and purge those of the wave before; return their ids."""
    queued: list[str] = []
    while len(queued) < count:
        many = min(_BATCH, count - len(queued))
        rows = [
            {
                "id": new_id(), "owner_id": owner, "sha256": hashlib.sha256(os.urandom(8)).hexdigest(),
                "size": 1, "filename": "a.txt", "media_type": "text/plain",
            }
            for _ in range(many)
        ]  # fmt: skip
        with engine.begin() as connection:
            connection.execute(sa.insert(documents).values(created_at=Clock("postgresql").now), rows)
            new = [NewItem(DocumentId(row["id"]), owner, "extract", 0) for row in rows]
            queued += [item.id for item in service.enqueue_many_in(connection, new)]
    while leases := service.claim_many("documents", "bench", _BATCH):
        service.settle_many(leases)
    service.fold_counts()
    for first in range(0, len(before), _BATCH):
        with engine.begin() as connection:
            service.purge_in(connection, before[first : first + _BATCH])
    return queued


def measure(items: int, wave: int, *, vacuum: bool = False) -> tuple[list[dict[str, int]], float]:
    """Let items pass; return the tables' sizes after each tenth, and the share of HOT updates.

    With ``vacuum`` after every wave: autovacuum looks once a minute, when a short run is over.
    """
    sizes: list[dict[str, int]] = []
    with PostgresServer(durable=True) as server, tempfile.TemporaryDirectory() as folder:
        url = server.url(server.create_database())
        settings = load_settings({"DATABASE_URL": url, "DATA_DIR": folder})
        database.upgrade(settings)
        engine = database.make_engine(settings)
        service = DocumentQueueService(engine, settings)
        owner = accounts.ensure_admin(engine).id
        done, before = 0, list[str]()
        while done < items:
            before = pass_through(engine, service, owner, min(wave, items - done), before)
            done += len(before)
            if vacuum:
                with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
                    connection.exec_driver_sql("VACUUM")
            if done * 10 // items > len(sizes):
                with reading(engine) as connection:
                    rows = connection.execute(_SIZE, {"names": list(_TABLES)})
                    sizes.append({row.relname: row.bytes for row in rows})
                    hot = float(connection.execute(_HOT).scalar_one())
                print(f"  {done:,} items have passed", file=sys.stderr, flush=True)
        engine.dispose()
    return sizes, hot


def table(sizes: Sequence[dict[str, int]], items: int, wave: int, hot: float) -> str:
    """Write the page's section."""
    lines = [
        "## Bloat",
        "",
        f"{items:,} items pass through the queue in waves of {wave:,}: queued, claimed, settled, and",
        "purged a wave later, on PostgreSQL with its own autovacuum. Size of each table with its indexes, as",
        f"a ratio to its size after the first tenth. Of the updates of items {hot:.0%} touched no index; a",
        "claim and a settlement are two, and a settlement has to.",
        "",
        "| table | " + " | ".join(f"{10 * (number + 1)} %" for number in range(len(sizes))) + " |",
        "| --- |" + " ---: |" * len(sizes),
    ]
    for name in _TABLES:
        first = max(1, sizes[0][name])
        lines.append(f"| {name} | " + " | ".join(f"{one[name] / first:.2f}" for one in sizes) + " |")
    lines += ["", describe_machine(), "", "```", 'make bench-bloat ARGS="--write docs/benchmarks.md"', "```"]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench-bloat", description=__doc__)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--wave", type=int, default=20_000)
    parser.add_argument("--write", type=Path, help="the page whose section is replaced")
    asked = parser.parse_args()
    sizes, hot = measure(asked.items, asked.wave)
    text = table(sizes, asked.items, asked.wave, hot)
    print(text)
    if asked.write:
        replace_section(asked.write, "bloat", text)


if __name__ == "__main__":
    main()
