"""One request over many items: looked at first, then worked off in slices, each one transaction.

Its parts: :mod:`~jobs.bulk.request` (what may be asked for; pure), :mod:`~jobs.bulk.candidates` (which items
that means, read along an index a slice at a time) and :mod:`~jobs.bulk.service` (the tracked operation).
"""

from jobs.bulk.request import BulkKind, BulkOperation, Preview, clean_text, parse_reason
from jobs.bulk.service import SLICE, BulkOperations

__all__ = ["SLICE", "BulkKind", "BulkOperation", "BulkOperations", "Preview", "clean_text", "parse_reason"]
