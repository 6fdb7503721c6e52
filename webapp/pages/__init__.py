"""What people see: sign in, upload, documents, jobs, account.

Each module hangs its views on the blueprint made here. Every page works without JavaScript.
"""

from __future__ import annotations

from flask import Blueprint

blueprint = Blueprint("pages", __name__)

from webapp.pages import account, deletion, document, documents, job, sign_in  # noqa: E402  # they need the blueprint

__all__ = ["account", "blueprint", "deletion", "document", "documents", "job", "sign_in"]
