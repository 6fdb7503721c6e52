"""What every template may use: who is signed in, where we are, and how things are worded."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from flask import Flask, request
from markupsafe import Markup

from jobs.model import Label, QueueItem
from jobs.states import label as label_of
from webapp import wording
from webapp.access import current_identity


def install(app: Flask) -> None:
    """Register the filters and the common variables."""
    app.context_processor(_common)
    app.jinja_env.filters.update(
        size=wording.human_size,
        duration=wording.human_duration,
        when=when,
        countdown=countdown,
        label=_label,
        label_word=lambda label: wording.LABEL_WORDS.get(label, str(label)),
        stage_word=lambda stage: wording.STAGE_WORDS.get(stage, str(stage).capitalize()),
        operation_word=lambda name: wording.OPERATION_WORDS.get(name, name),
        told=wording.told,
        kind=kind_of_file,
        instant=wording.instant_words,
        language_name=wording.language_name,
        fact=lambda pair: wording.fact(*pair),
        is_figure=wording.is_figure,
    )


def when(at: datetime | None) -> Markup:
    """Show an instant relative to now, with the absolute one in the tooltip; the page keeps it fresh."""
    if at is None:
        return Markup("&ndash;")
    return Markup('<time datetime="{}" title="{}" data-relative>{}</time>').format(
        at.isoformat(), wording.absolute(at), wording.relative(at)
    )


def countdown(at: datetime) -> Markup:
    """Show how long it is until an instant; the page counts down."""
    return Markup('<time datetime="{}" title="{}" data-countdown>{}</time>').format(
        at.isoformat(), wording.absolute(at), wording.relative(at)
    )


def kind_of_file(filename: str) -> str:
    """Return the short mark of a file's kind: its extension, at most four letters."""
    extension = filename.rpartition(".")[2] if "." in filename else ""
    return extension[:4].upper() if extension.isalnum() else "FILE"


def _label(item: QueueItem) -> Label:
    return label_of(item, datetime.now(UTC))


def _common() -> dict[str, Any]:
    identity = current_identity() if request.endpoint not in {"static", "rq_dashboard.static"} else None
    return {
        "user": None if identity is None else identity.user,
        "here": request.endpoint or "",
    }
