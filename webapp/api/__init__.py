"""The JSON API under ``/api/v1``: documents, jobs, events, presets, the queue's figures.

The modules of this package hang their views on the blueprint made here.
"""

from __future__ import annotations

from flask import Blueprint

blueprint = Blueprint("api", __name__, url_prefix="/api/v1")

from webapp.api import bulk, deletion, documents, events, images, jobs, parts, presets, queues, why  # noqa: E402  # they need the blueprint

__all__ = [
    "blueprint",
    "bulk",
    "deletion",
    "documents",
    "events",
    "images",
    "jobs",
    "parts",
    "presets",
    "queues",
    "why",
]
