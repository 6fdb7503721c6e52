"""Models and migrations are the same schema, on both databases."""

from __future__ import annotations

import threading
import warnings

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from jobs.database import MIGRATIONS, check_revision, head_revision, is_wal_safe, make_engine, upgrade
from jobs.errors import ConfigurationError
from jobs.settings import load_settings
from jobs.tables import metadata

EXPRESSIONS = {
    "ix_queue_items_line", "ix_queue_items_turns", "ix_queue_items_newest", "ix_queue_items_newest_of_owner",
    "ix_queue_items_soonest", "ix_queue_items_soonest_of_owner",
}  # fmt: skip


def _but_the_expression_index(_object, name, *_rest):
    """Alembic cannot compare an index with a descending column; its presence is tested below."""
    return name not in EXPRESSIONS


def test_the_migrations_make_exactly_the_models(engine):
    with engine.connect() as connection, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="autogenerate skipping metadata-specified expression")
        warnings.filterwarnings("ignore", message="Skipped unsupported reflection of expression-based index")
        context = MigrationContext.configure(connection, opts={"include_object": _but_the_expression_index})
        assert compare_metadata(context, metadata) == []


def test_the_newest_migration_is_known_without_alembic():
    assert head_revision() == ScriptDirectory(str(MIGRATIONS)).get_current_head()


def test_indexes_with_expressions_are_there(engine):
    catalogue = "sqlite_master" if engine.dialect.name == "sqlite" else "pg_indexes"
    column = "name" if engine.dialect.name == "sqlite" else "indexname"
    with engine.connect() as connection:
        found = set(connection.exec_driver_sql(f"SELECT {column} FROM {catalogue}").scalars())
    assert found >= EXPRESSIONS


def test_upgrade_is_safe_when_several_processes_start_at_once(settings, engine):
    metadata.drop_all(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE alembic_version")
    troubles = []

    def run():
        try:
            upgrade(settings)
        except Exception as error:  # noqa: BLE001
            troubles.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert troubles == []
    assert check_revision(engine)


def test_sqlite_is_durable_and_safe(tmp_path):
    engine = make_engine(load_settings({"DATA_DIR": str(tmp_path)}))
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
    engine.dispose()


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("postgresql://nobody@127.0.0.1:1/none", "does not answer"),
        ("postgresql://user@host:not-a-port/x", "cannot be read"),
    ],
)
def test_a_database_that_is_not_there_is_told_in_one_line(url, reason):
    with pytest.raises(ConfigurationError, match=reason):
        upgrade(load_settings({"DATABASE_URL": url}))


@pytest.mark.parametrize(
    ("version", "safe"),
    [((3, 40, 1), False), ((3, 51, 2), False), ((3, 51, 3), True), ((3, 52, 0), False), ((3, 53, 4), True),
     ((3, 50, 7), True), ((3, 50, 6), False), ((3, 44, 6), True)],
)  # fmt: skip
def test_versions_with_the_wal_reset_bug_are_refused(version, safe):
    assert is_wal_safe(version) is safe
