"""Run rq-scheduler with the periodic sweep: settings, logging, then :func:`jobs.rq_scheduler.run`."""

from __future__ import annotations

import sys

from jobs import database, logs, rq_scheduler
from jobs.errors import ConfigurationError
from jobs.settings import load_settings, prepare_data_dir

if __name__ == "__main__":
    try:
        settings = load_settings()
        logs.configure(settings)
        prepare_data_dir(settings)
        database.upgrade(settings)
        rq_scheduler.run(settings)
    except ConfigurationError as error:
        sys.exit(f"docqueue: {error}")
