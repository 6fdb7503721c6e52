"""Presets: ways of reading by name."""

from __future__ import annotations

from flask import jsonify
from flask.typing import ResponseReturnValue

from jobs.model import JSON
from jobs.read_options import DEFAULT_PRESET, preset_json
from webapp.api import blueprint
from webapp.services import services


@blueprint.get("/presets")
def presets() -> ResponseReturnValue:
    """List the presets with their options, and name the one that counts where none is asked for."""
    rows: list[JSON] = [
        {"name": name, "options": preset_json(options)} for name, options in services().presets.items()
    ]
    return jsonify({"presets": rows, "default": DEFAULT_PRESET})
