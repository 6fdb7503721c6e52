"""Fixtures that start real servers on demand; a test that asks for none starts none.

A test that uses ``database_url`` (or ``settings``, ``engine``, ``service``, which build on it) runs
twice: on SQLite and on PostgreSQL, each time on a fresh copy of a migrated database.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from jobs import database
from jobs.queue_service import DocumentQueueService
from jobs.settings import Settings, load_settings
from tests.support.processes import Service
from tests.support.servers import PostgresServer, ValkeyServer

_FAST = {
    "LEASE_SECONDS": "2",
    "HEARTBEAT_SECONDS": "0.5",
    "SWEEP_SECONDS": "0.5",
    "ANNOUNCE_AGAIN_SECONDS": "1",
    "BACKOFF_BASE_SECONDS": "0.05",
    "BACKOFF_CAP_SECONDS": "0.2",
    "SECRET_KEY": "only-for-tests",
    "LOG_FORMAT": "console",
}
_failed = pytest.StashKey[bool]()


# Where temporary files go.


def _prefer_memory() -> None:
    """Keep databases in memory where there is plenty: processes are killed here, machines are not.

    An fsync then costs nothing. ``TMPDIR`` says otherwise; `make chaos` uses the disk.
    """
    memory = Path("/dev/shm")  # shared on purpose; every file below it is made by mkdtemp
    if "TMPDIR" in os.environ or not os.access(memory, os.W_OK):
        return
    if shutil.disk_usage(memory).free > _PLENTY_BYTES:
        os.environ["TMPDIR"] = str(memory)
        tempfile.tempdir = None


_PLENTY_BYTES = 6 * 1024**3
_prefer_memory()


# Skipping and failing.


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report = yield
    if report.failed:
        item.stash[_failed] = True
    return report


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    # Called in the controller too when the tests are spread over several processes.
    if report.skipped and not hasattr(report, "wasxfail"):
        _skips.append(f"{report.nodeid}: {report.longreprtext}")


def pytest_collectreport(report: pytest.CollectReport) -> None:
    # A whole module that skips itself.
    if report.skipped:
        _skips.append(f"{report.nodeid}: {report.longreprtext}")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Turn skipped tests into a failed run where nothing may be skipped."""
    if os.environ.get("DOCQUEUE_NO_SKIPS") and _skips and not hasattr(session.config, "workerinput"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if os.environ.get("DOCQUEUE_NO_SKIPS") and _skips:
        terminalreporter.section("skipped, which DOCQUEUE_NO_SKIPS forbids")
        for line in _skips:
            terminalreporter.line(line)


_skips: list[str] = []


# Servers, one set for each process that runs tests.


@pytest.fixture(scope="session")
def _valkey_server() -> Iterator[ValkeyServer]:
    with ValkeyServer() as server:
        yield server


@pytest.fixture(scope="session")
def _postgres_server() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        yield server


@pytest.fixture
def valkey(_valkey_server: ValkeyServer) -> ValkeyServer:
    """A running, empty Redis-compatible server; the test may do anything to it."""
    _valkey_server.thaw()
    _valkey_server.start()
    _valkey_server.flush()
    return _valkey_server


@pytest.fixture
def postgres(_postgres_server: PostgresServer) -> PostgresServer:
    """A running PostgreSQL server; the test may do anything to it."""
    _postgres_server.thaw()
    _postgres_server.start()
    return _postgres_server


# Databases.


@pytest.fixture(scope="session")
def _sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "docqueue.db"
    database.upgrade(load_settings({"DATABASE_URL": f"sqlite:///{path}"}))
    return path


@pytest.fixture(scope="session")
def _postgres_template(_postgres_server: PostgresServer) -> str:
    name = _postgres_server.create_database()
    database.upgrade(load_settings({"DATABASE_URL": _postgres_server.url(name)}))
    return name


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, data_dir: Path) -> Iterator[str]:
    """The URL of this test's own migrated database."""
    if request.param == "sqlite":
        path = data_dir / "docqueue.db"
        shutil.copy(request.getfixturevalue("_sqlite_template"), path)
        yield f"sqlite:///{path}"
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    name = server.create_database(request.getfixturevalue("_postgres_template"))
    yield server.url(name)
    server.start()
    server.drop_database(name)


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A data folder with a path short enough for sockets."""
    folder = Path(tempfile.mkdtemp(prefix="dq-d-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


# The program.


@pytest.fixture
def environ(data_dir: Path, database_url: str, valkey: ValkeyServer) -> dict[str, str]:
    """The settings as environment variables, with fast timings."""
    return {**_FAST, "DATA_DIR": str(data_dir), "DATABASE_URL": database_url, "REDIS_URL": valkey.url}


@pytest.fixture
def settings(environ: dict[str, str]) -> Settings:
    return load_settings(environ)


@pytest.fixture
def engine(settings: Settings) -> Iterator[sa.Engine]:
    engine = database.make_engine(settings)
    yield engine
    engine.dispose()


@pytest.fixture
def service(engine: sa.Engine, settings: Settings) -> DocumentQueueService:
    return DocumentQueueService(engine, settings)


@pytest.fixture
def start_service(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """Start the real processes: ``start_service(environ, parts=("web", "worker", "scheduler"))``."""
    # What the processes use is set up before them, and so taken away after them.
    for name in ("environ", "data_dir"):
        if name in request.fixturenames:
            request.getfixturevalue(name)
    started: list[Service] = []

    def start(environ: dict[str, str], parts: tuple[str, ...] = ("web", "worker", "scheduler")) -> Service:
        folder = tmp_path / f"service-{len(started)}"
        folder.mkdir()
        running = Service(environ, folder, parts)
        started.append(running)
        running.start()
        return running

    yield start
    for running in started:
        running.close()
    if request.node.stash.get(_failed, False):
        for running in started:
            print(running.all_output())
