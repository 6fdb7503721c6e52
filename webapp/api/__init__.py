"""The JSON API under ``/api/v1``: documents, jobs, the queue's figures.

``documents`` and ``jobs`` hang their views on the blueprint made here.
"""

from __future__ import annotations

from flask import Blueprint

blueprint = Blueprint("api", __name__, url_prefix="/api/v1")

from webapp.api import documents, jobs  # noqa: E402  # they need the blueprint

__all__ = ["blueprint", "documents", "jobs"]
