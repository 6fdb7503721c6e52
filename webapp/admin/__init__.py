"""The queue as its operator sees it: what runs, what waits and why, what failed, and the repairs.

The modules of this package hang their views on the blueprint made here.
"""

from __future__ import annotations

from flask import Blueprint

blueprint = Blueprint("admin", __name__, url_prefix="/admin")

from webapp.admin import bulk, queue, system  # noqa: E402  # they need the blueprint

__all__ = ["blueprint", "bulk", "queue", "system"]
