"""Reads for pages, the API and the runner; nothing here changes a row.

``owner=None`` sees everything; otherwise a foreign row looks like a missing one.

Its parts: :mod:`~jobs.queries.base` under :mod:`~jobs.queries.labels` (what people are shown, in SQL),
:mod:`~jobs.queries.lists` (pages and counts that cost the same at every depth) and
:mod:`~jobs.queries.details` (one document, one item, the workers).
"""

from jobs.queries.details import Details, WorkerRow
from jobs.queries.labels import COUNTED_TO
from jobs.queries.lists import SEARCHED_AT_ONCE, DocumentRow, ItemRow, Lists

__all__ = ["COUNTED_TO", "SEARCHED_AT_ONCE", "DocumentRow", "ItemRow", "Queries", "WorkerRow"]


class Queries(Lists, Details):
    """The reads.

    Args:
        engine: the database.
    """
