"""The ``docqueue`` command."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import click
import sqlalchemy as sa

from jobs import accounts
from jobs.blobs import BlobStore
from jobs.database import make_engine, upgrade
from jobs.delivery import Delivery, web_connection
from jobs.errors import DocQueueError
from jobs.intake import Accepted, Intake, Upload
from jobs.logs import configure
from jobs.model import ENDED_STATUSES, JSON, Role, Status
from jobs.queries import Queries
from jobs.queue_service import DocumentQueueService
from jobs.settings import Settings, load_settings, prepare_data_dir
from jobs.tasks import process_document_queue

_CHUNK = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Context:
    """What every command needs."""

    settings: Settings
    engine: sa.Engine


class _Group(click.Group):
    """Turns the program's own errors into one line and exit code 1."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except DocQueueError as error:
            raise click.ClickException(error.public_message) from error
        except sa.exc.OperationalError as error:
            raise click.ClickException("The database does not answer. Check DATABASE_URL.") from error


@click.group(cls=_Group)
@click.version_option(package_name="docqueue")
@click.pass_context
def main(ctx: click.Context) -> None:
    """Document Queue Service: settings come from the environment, see docs/configuration.md."""
    settings = load_settings()
    configure(settings)
    prepare_data_dir(settings)
    upgrade(settings)
    ctx.obj = Context(settings, make_engine(settings))


@main.group()
def key() -> None:
    """API keys."""


@key.command("create")
@click.argument("name")
@click.option("--user", default="admin", show_default=True, help="On whose behalf the key acts.")
@click.pass_obj
def key_create(context: Context, name: str, user: str) -> None:
    """Make an API key and print it, and nothing else, once."""
    if user == "admin":
        accounts.ensure_admin(context.engine)
    owner = accounts.user_by_name(context.engine, user)
    if owner is None:
        raise click.ClickException(f"There is no user named {user!r}.")
    click.echo(accounts.create_api_key(context.engine, owner.id, name))


@main.group()
def user() -> None:
    """People."""


@user.command("create")
@click.argument("name")
@click.option("--admin", is_flag=True, help="May operate the queue and see every document.")
@click.option(
    "--password-stdin",
    is_flag=True,
    help="Read the password from standard input; otherwise a link is printed.",
)
@click.pass_obj
def user_create(context: Context, name: str, admin: bool, password_stdin: bool) -> None:
    """Make a user and print a one-time sign-in path, good for 24 hours."""
    password = sys.stdin.readline().rstrip("\n") if password_stdin else None
    made = accounts.create_user(context.engine, name, password, Role.ADMIN if admin else Role.MEMBER)
    if password is None:
        click.echo(_link(context, made.name))
    else:
        click.echo(f"User {made.name} can sign in.")


@main.command("sign-in-link")
@click.argument("name", default="admin")
@click.pass_obj
def sign_in_link(context: Context, name: str) -> None:
    """Print a one-time sign-in link for a user."""
    click.echo(_link(context, name))


@main.command("process-queue")
@click.option(
    "--limit", default=100, show_default=True, type=click.IntRange(1), help="At most this many items."
)
def process_queue(limit: int) -> None:
    """Work due items off here and now, without Redis, and print what was done as JSON."""
    click.echo(json.dumps(process_document_queue(limit)))


@main.command()
@click.pass_obj
def stats(context: Context) -> None:
    """Print the queue's counts as JSON."""
    click.echo(json.dumps(DocumentQueueService(context.engine, context.settings).get_queue_stats()))


@main.command()
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option("--operation", default="process", show_default=True)
@click.option("--priority", default=0, show_default=True, type=click.IntRange(-100, 100))
@click.option("--wait", is_flag=True, help="Return when every file has ended; exit code 2 if one failed.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def upload(
    context: Context, files: tuple[Path, ...], operation: str, priority: int, wait: bool, as_json: bool
) -> None:
    """Queue files of this machine, as the first admin."""
    owner = accounts.ensure_admin(context.engine)
    intake = _intake(context)
    accepted = []
    for path in files:
        accepted.extend(
            intake.accept([_spooled(intake, path)], owner=owner.id, operation=operation, priority=priority)
        )
    rows = [_row(one, Status.PENDING, None) for one in accepted]
    if wait:
        rows = [_wait(context, one) for one in accepted]
    if as_json:
        click.echo(json.dumps({"documents": rows}))
    else:
        for row in rows:
            click.echo(f"{row['status']:<12} {row['job_id']}  {row['filename']}" + _reason(row))
    if any(row["status"] in {Status.FAILED, Status.CANCELLED} for row in rows):
        sys.exit(2)


def _intake(context: Context) -> Intake:
    settings = context.settings
    return Intake(
        context.engine,
        settings,
        BlobStore(settings.data_dir),
        DocumentQueueService(context.engine, settings),
        Delivery(web_connection(settings), settings),
    )


def _spooled(intake: Intake, path: Path) -> Upload:
    spool = intake.new_spool()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            spool.write(chunk)
    return Upload(path.name, spool)


def _wait(context: Context, one: Accepted) -> dict[str, JSON]:
    queries = Queries(context.engine)
    while (item := queries.item(one.item.id, owner=None)).status not in ENDED_STATUSES:
        time.sleep(0.2)
    return _row(one, item.status, item.error_message)


def _row(one: Accepted, status: Status, error: str | None) -> dict[str, JSON]:
    return {
        "id": one.document.id,
        "job_id": one.item.id,
        "status": status.value,
        "filename": one.document.filename,
        "sha256": one.document.sha256,
        "size": one.document.size,
        "error": error,
    }


def _reason(row: dict[str, JSON]) -> str:
    return f": {row['error']}" if row["error"] else ""


def _link(context: Context, name: str) -> str:
    token = accounts.make_sign_in_link(context.engine, name)
    return f"http://{context.settings.host}:{context.settings.port}/sign-in/link/{token}"
