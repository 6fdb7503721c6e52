"""The page of a document: what was found in it, beside pictures of its pages."""

from __future__ import annotations

import json
from collections.abc import Mapping

from flask import render_template, request
from flask.typing import ResponseReturnValue

from jobs.extraction import Extraction, has_images
from jobs.model import IMAGES_OPERATION, UPLOAD_OPERATIONS, Artifact, Document
from webapp.access import owner_filter
from webapp.page_images import PageImages, wanted_images
from webapp.pages import blueprint
from webapp.presenters import waiting_of
from webapp.result_view import MOST_HITS, search, view_of
from webapp.results import partial_text
from webapp.services import services
from webapp.wording import waiting_reason

TABS = {
    "overview": "Overview",
    "markdown": "Markdown",
    "text": "Text",
    "tables": "Tables",
    "chunks": "Chunks",
    "metadata": "Fields",
    "jobs": "Jobs",
}
# Beside these a picture of the page is shown.
SPLIT_TABS = frozenset({"overview", "markdown", "text", "tables", "chunks", "metadata"})
_JSON_SHOWN = 60_000
CHILD_ROWS = 50
# Of how many pages before and behind the one that is looked at thumbnails are shown.
_PAGES_BEFORE, _PAGES_BEHIND = 2, 17


@blueprint.get("/documents/<document_id>")
def document(document_id: str) -> ResponseReturnValue:
    """Show a document: what was found in it, and the jobs that looked."""
    found = services().queries.document(document_id, owner=owner_filter())
    tab = request.args.get("tab", "overview")
    tab = tab if tab in TABS else "overview"
    words = request.args.get("q", "").strip()[:200]
    results = services().queries.results(found.id)
    items = services().queries.items_of(found.id)
    item = next((one for one in items if one.operation != IMAGES_OPERATION), items[0] if items else None)
    waiting = waiting_of(item) if item else None
    extraction = Extraction.from_json(results["extract"].body) if "extract" in results else None
    page = _count(request.args.get("page", ""))
    page_count = _page_count(extraction)
    images = _images(found, tab, extraction, min(page or 1, page_count or 1))
    if page is None and images is not None and page_count > 1 and tab != "tables":
        page = 1
    whole = request.args.get("page") == "all"
    part = _count(request.args.get("part", "")) or 1
    return render_template(
        "document.html",
        document=found,
        tab=tab,
        tabs=TABS,
        item=item,
        items=items,
        reason=waiting_reason(waiting) if waiting is not None else None,
        parent=services().queries.parent_of(found.id),
        children=services().queries.children(found.id, after=request.args.get("after"), limit=CHILD_ROWS),
        children_count=services().queries.count_children(found.id),
        extract=results["extract"].body if "extract" in results else {},
        analysis=results["analyze"].body if "analyze" in results else {},
        table_count=len(extraction.tables) if extraction else 0,
        chunk_count=len(extraction.chunks) if extraction else 0,
        view=view_of(extraction, tab, None if whole else page, part) if extraction else None,
        images=images,
        page=min(page or 1, page_count or 1),
        page_count=page_count,
        near=_near(min(page or 1, page_count or 1), page_count),
        whole=whole,
        words=words,
        hits=search(extraction, words) if extraction else [],
        most_hits=MOST_HITS,
        partial=partial_text(item) if extraction is None else None,
        result_json=_fields_json(results) if tab == "metadata" else None,
        operations=UPLOAD_OPERATIONS,
    )


def _page_count(extraction: Extraction | None) -> int:
    return 0 if extraction is None else extraction.page_count or len(extraction.pages)


def _images(found: Document, tab: str, extraction: Extraction | None, page: int) -> PageImages | None:
    """Return the pictures to show beside the tab; ``None`` where there is no place or no use for them."""
    if extraction is None or tab not in SPLIT_TABS or not has_images(found.media_type):
        return None
    return wanted_images(found, page)


def _near(page: int, page_count: int) -> range:
    """Return the pages of which thumbnails are shown: those around the one that is looked at."""
    return range(max(1, page - _PAGES_BEFORE), min(page_count, page + _PAGES_BEHIND) + 1)


def _count(given: str) -> int | None:
    return int(given) if given.isascii() and given.isdigit() and len(given) < 7 and int(given) > 0 else None


def _fields_json(results: Mapping[str, Artifact]) -> str | None:
    """Return the analysis as people read JSON; ``None`` without one."""
    if "analyze" not in results:
        return None
    return json.dumps(results["analyze"].body, ensure_ascii=False, indent=2)[:_JSON_SHOWN]
