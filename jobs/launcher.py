"""Run everything on one machine with one command: ``python -m jobs.launcher``, or ``make run``.

It starts the private Redis if none was given, brings the database up to date, prints one line with
the address and a one-time sign-in link, and runs the lines of the Procfile through honcho. A line
that ends, however it ends, is started again while the others go on.
"""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import redis
import structlog
from honcho.environ import parse_procfile
from redis.backoff import NoBackoff
from redis.retry import Retry

from jobs import accounts, database, logs
from jobs.embedded_redis import EmbeddedRedis
from jobs.errors import ConfigurationError
from jobs.settings import Settings, load_settings, prepare_data_dir
from jobs.supervision import RestartingManager

log = structlog.get_logger()

ROOT = Path(__file__).resolve().parent.parent
HEALTHY_SECONDS = 60.0
# How long the processes of a launcher that was killed may take to end.
ORPHANS_END_SECONDS = 10.0


def main() -> int:
    """Run until Ctrl-C or SIGTERM.

    Returns:
        The exit code: 0 after a clean stop, 1 after trouble that the one line on stderr explains.
    """
    try:
        settings = load_settings()
        logs.configure(settings)
        return run(settings)
    except ConfigurationError as error:
        sys.stderr.write(f"docqueue: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 130


def run(settings: Settings) -> int:
    """Check everything that can be checked, then start and supervise the processes.

    Args:
        settings: the validated settings.

    Returns:
        The exit code.

    Raises:
        ConfigurationError: it cannot start; the message says why and what to do.
    """
    prepare_data_dir(settings)
    with only_launcher(settings) as last_was_killed, contextlib.ExitStack() as cleanups:
        check_port_is_free(settings.host, settings.port, ORPHANS_END_SECONDS if last_was_killed else 0.0)
        server = _start_redis(settings, cleanups)
        link = _prepare_database(settings)
        manager = _make_manager(settings)
        # The processes are forked before the first thread exists.
        manager.start()
        if server is not None:
            server.watch()
        announcer = threading.Thread(target=_announce, args=(settings, link), daemon=True)
        announcer.start()
        manager.loop()
    return 0


@contextlib.contextmanager
def only_launcher(settings: Settings) -> Iterator[bool]:
    """Hold the data folder's launcher lock.

    Yields:
        Whether the launcher before this one was killed; its processes may still be ending.

    Raises:
        ConfigurationError: another launcher holds it.
    """
    path = settings.data_dir / "launcher.lock"
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            where = file.read().strip() or "somewhere"
            raise ConfigurationError(
                f"Document Queue Service already runs on {settings.data_dir}: {where}. "
                "Use that one, stop it, or set DATA_DIR to another folder."
            ) from error
        file.seek(0)
        last_was_killed = bool(file.read())
        file.truncate(0)
        file.write(f"{address(settings)} (process {os.getpid()})\n")
        file.flush()
        try:
            yield last_was_killed
        finally:
            file.truncate(0)


def address(settings: Settings) -> str:
    """Return the URL under which this machine reaches the web process."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104  # it is only compared
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"


def check_port_is_free(host: str, port: int, wait_seconds: float = 0.0) -> None:
    """Try to listen where the web process will.

    Args:
        host: the address.
        port: the port.
        wait_seconds: how long to wait for somebody else to give it up.

    Raises:
        ConfigurationError: the port is taken, or may not be used; or the host is not this machine's.
    """
    deadline = time.monotonic() + wait_seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(ConfigurationError):
            _try_port(host, port)
            return
        time.sleep(0.1)
    _try_port(host, port)


def _try_port(host: str, port: int) -> None:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # As gunicorn does, or a connection that closed a moment ago would look like a listener.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except socket.gaierror as error:
        raise ConfigurationError(f"HOST {host!r} is not an address of this machine.") from error
    except PermissionError as error:
        raise ConfigurationError(
            f"Port {port} may not be used by this user. Choose one above 1023, e.g. make run PORT=8000."
        ) from error
    except OSError as error:
        raise ConfigurationError(
            f"Port {port} on {host} cannot be used ({error.strerror}). "
            f"Stop the program that uses it, or choose another, e.g. make run PORT={port + 1}."
        ) from error


def _start_redis(settings: Settings, cleanups: contextlib.ExitStack) -> EmbeddedRedis | None:
    if settings.uses_embedded_redis:
        server = EmbeddedRedis(settings.data_dir)
        cleanups.callback(server.stop)
        server.start()
        return server
    try:
        client = redis.Redis.from_url(
            settings.redis_url, socket_timeout=3.0, socket_connect_timeout=3.0, retry=Retry(NoBackoff(), 0)
        )
        with contextlib.closing(client):
            client.ping()
    except (redis.RedisError, OSError, ValueError) as error:
        raise ConfigurationError(
            f"The Redis server in REDIS_URL does not answer ({_first_line(error)}). "
            "Start it, correct REDIS_URL, or leave REDIS_URL out to use the private one."
        ) from error
    return None


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")


def _prepare_database(settings: Settings) -> str:
    """Bring the schema up to date and return the path of a one-time sign-in link."""
    try:
        database.upgrade(settings)
    except ValueError as error:
        raise ConfigurationError(f"DATABASE_URL cannot be read ({_first_line(error)}).") from error
    engine = database.make_engine(settings, pooled=False)
    try:
        accounts.ensure_admin(engine)
        return f"/sign-in/link/{accounts.make_sign_in_link(engine)}"
    finally:
        engine.dispose()


def _make_manager(settings: Settings) -> RestartingManager:
    """Read the Procfile; every process gets this environment, with the address made explicit."""
    interpreter = str(Path(sys.executable).parent)
    environment = dict(
        os.environ,
        HOST=settings.host,
        PORT=str(settings.port),
        PYTHONUNBUFFERED="1",
        PATH=os.pathsep.join((interpreter, os.environ.get("PATH", os.defpath))),
    )
    manager = RestartingManager()
    try:
        lines = parse_procfile((ROOT / "Procfile").read_text("utf-8")).processes
    except OSError as error:
        raise ConfigurationError(f"The Procfile in {ROOT} cannot be read ({error.strerror}).") from error
    for name, command in lines.items():
        # Without a shell in between, the process itself gets the signals.
        manager.add_process(name, f"exec {command}", env=environment, cwd=str(ROOT))
    return manager


def _announce(settings: Settings, link: str) -> None:
    """Print the one line once the web process answers."""
    deadline = time.monotonic() + HEALTHY_SECONDS
    while not _is_healthy(settings):
        if time.monotonic() > deadline:
            log.warning("web_not_answering", address=address(settings), seconds=HEALTHY_SECONDS)
            deadline = float("inf")
        time.sleep(0.1)
    print(f"Document Queue Service is running: {address(settings)}{link}", flush=True)  # noqa: T201  # for a person


def _is_healthy(settings: Settings) -> bool:
    host = address(settings).removeprefix("http://")
    connection = http.client.HTTPConnection(host, timeout=2.0)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    # Ctrl-C before the processes run ends the start quietly, whatever it was doing.
    signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGINT))
    sys.exit(main())
