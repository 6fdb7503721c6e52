"""What other programs ask to know whether this one is well, and the bell that cron may pull."""

from __future__ import annotations

import hmac
import os
from collections.abc import Iterator

from flask import Blueprint, Response, current_app, jsonify, request
from flask.typing import ResponseReturnValue
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector
from werkzeug.exceptions import Forbidden, Unauthorized

from jobs import extraction
from jobs.model import Status
from webapp.access import admin_only, current_identity, public
from webapp.services import Services, services

blueprint = Blueprint("probes", __name__)


class QueueCollector(Collector):
    """The queue's figures, read from the database when they are asked for.

    Args:
        source: the application's services.
    """

    def __init__(self, source: Services) -> None:
        self._source = source

    def describe(self) -> Iterator[Metric]:
        """Name nothing ahead, so that registering asks no database."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Read the figures."""
        stats = self._source.service.get_queue_stats()
        items = GaugeMetricFamily("docqueue_items", "Queue items by stored status.", labels=("status",))
        for status in Status:
            items.add_metric([status.value], _number(stats, status.value))
        yield items
        pending = GaugeMetricFamily("docqueue_pending", "Pending items by label.", labels=("label",))
        for label in ("waiting", "scheduled", "retrying"):
            pending.add_metric([label], _number(stats, label))
        yield pending
        yield GaugeMetricFamily(
            "docqueue_oldest_waiting_seconds",
            "How long the oldest due item has been waiting; 0 when none is.",
            value=_number(stats, "oldest_waiting_seconds"),
        )
        yield GaugeMetricFamily(
            "docqueue_workers_alive", "Workers seen within a minute.", value=_number(stats, "workers_alive")
        )
        yield CounterMetricFamily(
            "docqueue_purged_items", "Ended items that were cleared.", value=_number(stats, "purged")
        )
        yield GaugeMetricFamily(
            "docqueue_redis_up", "Whether Redis answers.", value=float(self._source.delivery.ping())
        )


@blueprint.get("/healthz")
@public
def healthz() -> ResponseReturnValue:
    """Tell that this process answers; asks nobody else."""
    return jsonify({"status": "ok"})


@blueprint.get("/readyz")
@public
def readyz() -> ResponseReturnValue:
    """Tell whether requests can be served: 503 without database or data folder, degraded without Redis.

    Besides, how well documents would be shut in on this machine.
    """
    data_dir = services().settings.data_dir
    causes = {
        "database": _database_state(),
        "data_folder": "ok" if os.access(data_dir, os.W_OK | os.X_OK) else "not writable",
    }
    ready = all(state == "ok" for state in causes.values())
    redis = "ok" if services().delivery.ping() else "unreachable"
    status = "unavailable" if not ready else "ready" if redis == "ok" else "degraded"
    cage = extraction.cage_level().name.lower()
    return jsonify({"status": status, "checks": {**causes, "redis": redis, "cage": cage}}), (
        200 if ready else 503
    )


@blueprint.get("/metrics")
@admin_only
def metrics() -> ResponseReturnValue:
    """Hand out the figures in Prometheus' text format."""
    registry: CollectorRegistry = current_app.extensions["docqueue_registry"]
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


@blueprint.post("/internal/process-queue")
@public
def process_queue() -> ResponseReturnValue:
    """Sweep and ring the workers at once; works nothing off in this process.

    For the cron token, or an admin's API key.
    """
    expected = services().settings.cron_token
    scheme, _, presented = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        raise Unauthorized("Send the cron token or an admin's API key: Authorization: Bearer …")
    by_token = bool(expected) and hmac.compare_digest(expected.encode(), presented.strip().encode())
    if not by_token:
        identity = current_identity()
        if identity is None:
            raise Unauthorized("This token or key is not known.")
        if not identity.user.is_admin:
            raise Forbidden("This is for admins.")
    return jsonify(services().sweep().to_json())


def _database_state() -> str:
    try:
        return "ok" if services().schema_is_current() else "schema not current"
    except Exception:  # noqa: BLE001  # whatever the driver raises, the answer is the same
        return "unreachable"


def _number(stats: dict[str, int | float | None], name: str) -> float:
    return float(stats.get(name) or 0)
