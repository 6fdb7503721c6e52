"""The ``docqueue`` command."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import sqlalchemy as sa

from jobs import accounts, retention, sweep
from jobs.blobs import BlobStore
from jobs.bulk import BulkKind, BulkOperations, parse_reason
from jobs.database import make_engine, upgrade
from jobs.delivery import Delivery, web_connection
from jobs.doctor import examine
from jobs.duplicates import Dedupe
from jobs.errors import DocQueueError, DuplicateDocument
from jobs.intake import Intake
from jobs.logs import configure
from jobs.model import ENDED_STATUSES, JSON, UPLOAD_OPERATIONS, Role, Status
from jobs.operations import resources_of_operations
from jobs.queries import Queries
from jobs.queue_overview import overview
from jobs.queue_service import DocumentQueueService
from jobs.read_options import parse_options, presets_of
from jobs.settings import Settings, load_settings, prepare_data_dir
from jobs.tasks import process_document_queue
from jobs.uploads import Accepted, Order, Upload
from jobs.waiting import Explainer

_CHUNK = 1024 * 1024
_COMMAND_LINE = "the command line"


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
    if ctx.invoked_subcommand != "doctor":  # it looks and changes nothing
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
@click.argument("job_id")
@click.pass_obj
def why(context: Context, job_id: str) -> None:
    """Say why a job waits, the most decisive reason first."""
    uses = resources_of_operations(context.settings)
    found = Explainer(context.engine, context.settings, uses).explain(job_id)
    for reason in found.reasons:
        click.echo(reason.sentence)
    start = found.expected_start.isoformat() if found.expected_start else found.expected_start_unknown
    place = (
        f"position {found.position}, expected start: {start or 'unknown'}"
        if found.position
        else "not in line"
    )
    click.echo(f"{found.label.capitalize()}; {place}.")


@main.command()
@click.pass_obj
def stats(context: Context) -> None:
    """Print the queue's counts as JSON."""
    click.echo(json.dumps(DocumentQueueService(context.engine, context.settings).get_queue_stats()))


@main.command()
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option("--operation", default="process", show_default=True, type=click.Choice(UPLOAD_OPERATIONS))
@click.option("--priority", default=0, show_default=True, type=click.IntRange(-100, 100))
@click.option("--queue", help="QUEUE_NAME unless told otherwise.")
@click.option(
    "--delay-seconds", default=0.0, type=click.FloatRange(0, 31_536_000), help="Not before so many seconds."
)
@click.option(
    "--dedupe",
    default=Dedupe.NONE.value,
    show_default=True,
    type=click.Choice([one.value for one in Dedupe]),
    help="What becomes of a file whose bytes were sent before.",
)
@click.option(
    "--wait", is_flag=True, help="Return when every file has ended; exit code 2 if one failed or was refused."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def upload(
    context: Context,
    files: tuple[Path, ...],
    operation: str,
    priority: int,
    queue: str | None,
    delay_seconds: float,
    dedupe: str,
    wait: bool,
    as_json: bool,
) -> None:
    """Queue files of this machine, as the first admin."""
    owner = accounts.ensure_admin(context.engine)
    intake = _intake(context)
    options = parse_options({}, presets_of(context.settings))
    order = Order(operation, priority, queue, delay_seconds, options=options)
    accepted: list[Accepted] = []
    refused: list[dict[str, JSON]] = []
    for path in files:
        try:
            taken = intake.take([_spooled(intake, path)], order, owner=owner.id, dedupe=Dedupe(dedupe))
            accepted += taken.accepted
        except DuplicateDocument as error:
            refused.append({"filename": path.name, "code": error.code, "document_id": error.document_id})
    if wait:
        rows = [_wait(context, one) for one in accepted]
    else:
        rows = [_row(one, one.item.status, one.item.error_message) for one in accepted]
    if as_json:
        click.echo(json.dumps({"documents": rows} | ({"refused": refused} if refused else {})))
    else:
        for row in rows:
            click.echo(f"{row['status']:<12} {row['job_id']}  {row['filename']}" + _reason(row))
        for row in refused:
            click.echo(f"{'refused':<12} {row['document_id']}  {row['filename']}: sent before")
    if refused or any(row["status"] in {Status.FAILED, Status.CANCELLED} for row in rows):
        sys.exit(2)


@main.command()
@click.option(
    "--seconds", default=60.0, show_default=True, type=click.FloatRange(0), help="At most about this long."
)
@click.pass_obj
def prune(context: Context, seconds: float) -> None:
    """Delete what is past its time by the RETAIN_… settings, as the sweep does bit by bit."""
    settings, engine = context.settings, context.engine
    service, blobs = DocumentQueueService(engine, settings), BlobStore(settings.data_dir)
    done = retention.prune(engine, settings, service, blobs, seconds=seconds)
    click.echo(json.dumps(done.to_json()))


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--fast", is_flag=True, help="Look at the newest thousand only where a full look takes long.")
@click.pass_obj
def doctor(context: Context, as_json: bool, fast: bool) -> None:
    """Look the whole service over; exit code 0 all is well, 1 something to look at, 2 something broken."""
    settings, engine = context.settings, context.engine
    delivery, blobs = Delivery(web_connection(settings), settings), BlobStore(settings.data_dir)
    report = examine(settings, engine, delivery, blobs, fast=fast)
    if as_json:
        click.echo(json.dumps(report.to_json()))
    else:
        for finding in report.findings:
            click.echo(f"{finding.level.upper():<5} {finding.name:<19} {finding.message}")
            if finding.remedy:
                click.echo(f"{'':<26}{finding.remedy}")
    sys.exit(report.exit_code)


@main.group()
def queue() -> None:
    """Queues: look at them, pause them, let them go on."""


@queue.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def queue_list(context: Context, as_json: bool) -> None:
    """Print every queue: what waits and runs, who works on it, and whether it is paused."""
    found = overview(context.engine, context.settings)
    if as_json:
        click.echo(json.dumps({"queues": [one.to_json() for one in found]}))
        return
    for one in found:
        state = one.state
        paused = f"  paused by {state.paused_by}: {state.pause_reason}" if state.paused_at else ""
        waiting = f"{one.waiting}{'+' if one.waiting_capped else ''}"
        crew = f"{one.workers_busy} of {one.workers_alive} workers busy"
        click.echo(f"{state.name:<20} {waiting} waiting, {one.running} running, {crew}{paused}")


@queue.command("pause")
@click.argument("name")
@click.option("--reason", required=True, help="Shown to everybody who waits.")
@click.pass_obj
def queue_pause(context: Context, name: str, reason: str) -> None:
    """Let nothing of a queue be started any more; what runs goes on."""
    if not parse_reason(reason):
        raise click.ClickException("Say why: the reason is shown to everybody who waits.")
    service = DocumentQueueService(context.engine, context.settings)
    service.pause_queue(name, _COMMAND_LINE, parse_reason(reason))
    click.echo(f"Queue {name} is paused.")


@queue.command("resume")
@click.argument("name")
@click.pass_obj
def queue_resume(context: Context, name: str) -> None:
    """Let a queue go on, at once."""
    DocumentQueueService(context.engine, context.settings).resume_queue(name, _COMMAND_LINE)
    _ring(context)
    click.echo(f"Queue {name} goes on.")


def _choosing(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the arguments and options that say which jobs are meant."""
    for option in (
        click.option("--yes", is_flag=True, help="Do not ask."),
        click.option("--dry-run", is_flag=True, help="Count only."),
        click.option("--reason", default="", help="Kept in each job's timeline."),
        click.option("--all", "everything", is_flag=True, help="Every job that it can be done to."),
        click.option("--text", help="Only where this is part of the file's name."),
        click.option("--error-code", help="Only what failed with this error."),
        click.option("--operation", help="Only this operation."),
        click.option("--queue", help="Only this queue."),
        click.option("--label", help="Only what is shown as this, e.g. quarantined or waiting."),
        click.option("--status", help="Only what is in this state, e.g. failed or pending."),
        click.argument("ids", nargs=-1),
    ):
        command = option(command)
    return command


@main.command()
@_choosing
@click.pass_obj
def retry(context: Context, /, **options: Any) -> None:
    """Put failed or cancelled jobs back: by id, or all that match."""
    if _bulk(context, BulkKind.RETRY, **options):
        _ring(context)


@main.command()
@_choosing
@click.pass_obj
def cancel(context: Context, /, **options: Any) -> None:
    """Cancel jobs, waiting ones at once, running ones at their next step: by id, or all that match."""
    _bulk(context, BulkKind.CANCEL, **options)


def _bulk(
    context: Context,
    kind: BulkKind,
    *,
    ids: tuple[str, ...],
    everything: bool,
    reason: str,
    dry_run: bool,
    yes: bool,
    **named: str | None,
) -> bool:
    """Run a bulk operation to its end; return whether it changed anything."""
    chosen: dict[str, JSON] = {name: value for name, value in named.items() if value is not None}
    if ids:
        chosen["ids"] = [*ids]
    if everything:
        chosen["all"] = True
    bulk = BulkOperations(context.engine, context.settings)
    preview = bulk.preview(kind, chosen)
    more = "+" if preview.eligible_capped else ""
    for why, count in preview.excluded:
        click.echo(f"Left out: {count}, {why}.", err=True)
    if dry_run or not (preview.eligible or preview.eligible_capped):
        click.echo(f"To {kind}: {preview.eligible}{more}.")
        return False
    if not yes and not ids:
        click.confirm(f"{kind.capitalize()} {preview.eligible}{more} jobs?", abort=True, err=True)
    operation = bulk.start(kind, chosen, None, reason, _COMMAND_LINE)
    while (operation := bulk.advance(operation.id)).is_running:
        # It moves on by itself where a sweep has taken it over.
        time.sleep(0.01)
    click.echo(f"Done: {operation.done}, skipped: {operation.skipped}.")
    return operation.done > 0


def _ring(context: Context) -> None:
    settings = context.settings
    sweep.run(settings, context.engine, Delivery(web_connection(settings), settings), force=True)


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
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                spool.write(chunk)
    except BaseException:
        spool.discard()
        raise
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
        **({} if one.duplicate_of is None else {"duplicate_of": one.duplicate_of, "reused": one.reused}),
    }


def _reason(row: dict[str, JSON]) -> str:
    return f": {row['error']}" if row["error"] else ""


def _link(context: Context, name: str) -> str:
    token = accounts.make_sign_in_link(context.engine, name)
    return f"http://{context.settings.host}:{context.settings.port}/sign-in/link/{token}"
