"""Run the RQ workers of this machine: settings, logging, then :func:`jobs.rq_worker.run_pool`."""

from __future__ import annotations

import sys

from jobs import database, logs, rq_worker
from jobs.errors import ConfigurationError
from jobs.settings import load_settings

if __name__ == "__main__":
    try:
        settings = load_settings()
        logs.configure(settings)
        database.upgrade(settings)
        rq_worker.run_pool(settings)
    except ConfigurationError as error:
        sys.exit(f"docqueue: {error}")
