"""Pictures of pages."""

from __future__ import annotations

from flask import Response, request, url_for
from werkzeug.exceptions import BadRequest

from jobs.model import IMAGE_SIZES, JSON, PageImage, QueueItem
from webapp.access import owner_filter
from webapp.api import blueprint
from webapp.page_images import wanted_images
from webapp.presenters import retry_after
from webapp.problems import Problem
from webapp.security import FOREIGN_FILE_POLICY
from webapp.services import services

_KEPT_SECONDS = 86_400
_LOCKED_LINKS = {"job": "job", "password": "job_password"}


@blueprint.get("/documents/<document_id>/pages/<int:page>/image")
def page_image(document_id: str, page: int) -> Response:
    """Hand out the picture of a page; one that is not there is drawn, and asked for again later."""
    document = services().queries.document(document_id, owner=owner_filter())
    size = request.args.get("size", "reading")
    if size not in IMAGE_SIZES:
        raise BadRequest(f"The size is one of {', '.join(IMAGE_SIZES)}.")
    found = services().queries.page_image(document.id, page, size)
    if found is not None:
        return _picture(found)
    images = wanted_images(document, page)
    if images.locked is not None:
        raise _asking_for_password(images.locked)
    if images.job is None:
        raise Problem(404, images.reason or "This page was not drawn.", code="no_image")
    raise Problem(
        404,
        "This page is being drawn.",
        code="not_ready",
        members={
            "job_id": images.job.id,
            "job_status": images.job.status.value,
            "links": {"job": url_for("api.job", item_id=images.job.id)},
        },
        headers={"Retry-After": retry_after(images.job) or "1"},
    )


def _asking_for_password(job: QueueItem) -> Problem:
    links = {name: url_for(f"api.{view}", item_id=job.id) for name, view in _LOCKED_LINKS.items()}
    return Problem(
        404,
        job.error_message or "This file is protected with a password.",
        code=job.error_code or "encrypted",
        members={"job_id": job.id, "job_status": job.status.value, "links": dict[str, JSON](links)},
    )


def _picture(found: PageImage) -> Response:
    response = Response(found.data, content_type=found.media_type)
    response.headers["Content-Security-Policy"] = FOREIGN_FILE_POLICY
    # Kept by the browser of whoever may see it, never by a cache that others share.
    response.headers["Cache-Control"] = f"private, max-age={_KEPT_SECONDS}"
    response.vary.update(["Cookie", "Authorization"])
    response.add_etag()
    response.make_conditional(request)
    return response
