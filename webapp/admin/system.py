"""The service's health: what the doctor finds."""

from __future__ import annotations

from flask import render_template, request
from flask.typing import ResponseReturnValue

from webapp.admin import blueprint
from webapp.services import services


@blueprint.get("/system")
def system() -> ResponseReturnValue:
    """Show what a fast look finds, or with ``full=1`` a look at everything."""
    full = bool(request.args.get("full"))
    return render_template("system.html", report=services().examine(fast=not full), full=full)
