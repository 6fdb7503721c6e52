"""Deletes what is past its time: rows first, and bytes a grace later.

One pass takes a bounded share of what is due, so that it may run from the sweep; what it did not reach
waits for the next. Where something is in the middle of being named again (an item that is retried, bytes
that are uploaded, an artifact that is reused) the pass leaves it alone, and looks again another time.

Its parts: :mod:`~jobs.retention.base` under :mod:`~jobs.retention.store` (bytes) under
:mod:`~jobs.retention.rows` (items, documents, keys); beside them :mod:`~jobs.retention.artifacts`;
:mod:`~jobs.retention.passes` puts them in order.
"""

from jobs.retention.base import PruneStatistics
from jobs.retention.passes import delete_document, prune

__all__ = ["PruneStatistics", "delete_document", "prune"]
