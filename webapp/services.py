"""Everything a view may use, composed once for each application.

The views see functions and objects of :mod:`jobs`, never the engine behind them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from flask import current_app

from jobs import accounts, database, retention, sweep
from jobs.accounts import ApiKey
from jobs.blobs import BlobStore
from jobs.bulk import BulkOperations
from jobs.delivery import Delivery, web_connection
from jobs.doctor import Report, examine
from jobs.extraction import ReadOptions
from jobs.feed import EventFeed
from jobs.intake import Intake
from jobs.model import User, UserId
from jobs.operations import resources_of_operations
from jobs.patience import ANSWERING
from jobs.queries import Queries
from jobs.queue_overview import QueueOverview, overview
from jobs.queue_service import DocumentQueueService
from jobs.read_options import presets_of
from jobs.settings import Settings
from jobs.sweep import SweepStatistics
from jobs.waiting import Explainer


@dataclass(frozen=True, slots=True)
class Accounts:
    """The functions of :mod:`jobs.accounts`, bound to this application's database."""

    redeem_sign_in_link: Callable[[str], User | None]
    check_password: Callable[[str, str], User | None]
    set_password: Callable[[UserId, str], None]
    user_by_id: Callable[[UserId], User | None]
    create_session: Callable[[UserId, float], str]
    session_user: Callable[[str], User | None]
    end_session: Callable[[str], None]
    end_all_sessions: Callable[[UserId], None]
    create_api_key: Callable[[UserId, str], str]
    api_key_user: Callable[[str], User | None]
    note_api_key_use: Callable[[str], None]
    list_api_keys: Callable[[UserId], list[ApiKey]]
    revoke_api_key: Callable[[UserId, str], bool]


@dataclass(frozen=True, slots=True)
class Services:
    """What the views work with.

    Attributes:
        schema_is_current: tells whether the database answers with the schema this code expects.
        sweep: announces due items and rescues lost ones, now.
        delete_document: deletes a document by its id, and says by whom.
        examine: looks the whole service over; ``fast=True`` for a page.
        queue_overview: each queue at a glance.
        presets: ways of reading by their names.
        waiting: tells why items wait.
    """

    settings: Settings
    accounts: Accounts
    service: DocumentQueueService
    queries: Queries
    waiting: Explainer
    intake: Intake
    delivery: Delivery
    blobs: BlobStore
    schema_is_current: Callable[[], bool]
    sweep: Callable[[], SweepStatistics]
    delete_document: Callable[[str, str], None]
    examine: Callable[..., Report]
    feed: EventFeed
    bulk: BulkOperations
    queue_overview: Callable[[], list[QueueOverview]]
    presets: dict[str, ReadOptions]


def make_services(settings: Settings) -> Services:
    """Connect this process to database, Redis and data folder; nothing is carried across a fork."""
    engine = database.make_engine(settings, patience=ANSWERING)
    delivery = Delivery(web_connection(settings), settings)
    service = DocumentQueueService(engine, settings)
    blobs = BlobStore(settings.data_dir)
    accounts.ensure_admin(engine)
    return Services(
        settings=settings,
        accounts=Accounts(
            redeem_sign_in_link=partial(accounts.redeem_sign_in_link, engine),
            check_password=partial(accounts.check_password, engine),
            set_password=partial(accounts.set_password, engine),
            user_by_id=partial(accounts.user_by_id, engine),
            create_session=partial(accounts.create_session, engine),
            session_user=partial(accounts.session_user, engine),
            end_session=partial(accounts.end_session, engine),
            end_all_sessions=partial(accounts.end_all_sessions, engine),
            create_api_key=partial(accounts.create_api_key, engine),
            api_key_user=partial(accounts.api_key_user, engine),
            note_api_key_use=partial(accounts.note_api_key_use, engine),
            list_api_keys=partial(accounts.list_api_keys, engine),
            revoke_api_key=partial(accounts.revoke_api_key, engine),
        ),
        service=service,
        queries=Queries(engine),
        waiting=Explainer(engine, settings, resources_of_operations(settings)),
        intake=Intake(engine, settings, blobs, service, delivery),
        delivery=delivery,
        blobs=blobs,
        schema_is_current=partial(database.check_revision, engine),
        sweep=partial(sweep.run, settings, engine, delivery, force=True),
        delete_document=partial(retention.delete_document, engine, settings, service),
        examine=partial(examine, settings, engine, delivery, blobs),
        feed=EventFeed(engine),
        bulk=BulkOperations(engine, settings, service),
        queue_overview=partial(overview, engine, settings),
        presets=presets_of(settings),
    )


def services() -> Services:
    """Return the running application's services."""
    found: Services = current_app.extensions["docqueue"]
    return found
