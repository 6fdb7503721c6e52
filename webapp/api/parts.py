"""What was found in a document, part by part: its tables and its chunks."""

from __future__ import annotations

import json

from flask import jsonify, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import BadRequest, NotFound

from jobs.extraction import Chunk, Table
from jobs.model import JSON, Document
from webapp.access import owner_filter
from webapp.api import blueprint
from webapp.downloads import download
from webapp.results import extraction_of
from webapp.services import services
from webapp.table_files import to_csv, to_xlsx

_XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
_MOST_CHUNKS = 1_000
_FEW_CHUNKS = 200
NO_TABLES = "No tables were found in this document."


@blueprint.get("/documents/<document_id>/tables")
def document_tables(document_id: str) -> ResponseReturnValue:
    """List the tables that were found, with their rows."""
    document = _document(document_id)
    found = extraction_of(document).tables
    body: dict[str, JSON] = {"tables": [_table_json(document, *one) for one in enumerate(found, 1)]}
    if not found:
        body["detail"] = NO_TABLES
    return jsonify(body)


@blueprint.get("/documents/<document_id>/tables.json")
def document_tables_json(document_id: str) -> ResponseReturnValue:
    """Hand out all tables as a JSON file: a list of tables, each with its rows."""
    document = _document(document_id)
    tables = [table.to_json() for table in extraction_of(document).tables]
    body = json.dumps(tables, ensure_ascii=False)
    return download(document, body, "application/json", ".tables.json")


@blueprint.get("/documents/<document_id>/tables.xlsx")
def document_tables_xlsx(document_id: str) -> ResponseReturnValue:
    """Hand out all tables as a workbook, a sheet for each."""
    document = _document(document_id)
    return download(document, to_xlsx(extraction_of(document).tables), _XLSX, ".tables.xlsx")


@blueprint.get("/documents/<document_id>/tables/<int:number>.csv")
def document_table_csv(document_id: str, number: int) -> ResponseReturnValue:
    """Hand out one table as CSV; tables count from 1."""
    document = _document(document_id)
    tables = extraction_of(document).tables
    if not 1 <= number <= len(tables):
        raise NotFound(f"This document has {len(tables)} tables." if tables else NO_TABLES)
    body = to_csv(tables[number - 1])
    return download(document, body, "text/csv; charset=utf-8", f".table-{number}.csv")


@blueprint.get("/documents/<document_id>/chunks")
def document_chunks(document_id: str) -> ResponseReturnValue:
    """Hand out the text in chunks for retrieval: a page of them as JSON, or all as JSON lines."""
    document = _document(document_id)
    found = extraction_of(document)
    if request.args.get("format") == "jsonl":
        lines = [
            json.dumps(_chunk_json(*one, found.text), ensure_ascii=False) for one in enumerate(found.chunks)
        ]
        body = "".join(f"{line}\n" for line in lines)
        return download(document, body, "application/jsonl; charset=utf-8", ".chunks.jsonl")
    if request.args.get("format", "json") != "json":
        raise BadRequest("The format is json or jsonl.")
    first = _number("cursor", 0, len(found.chunks))
    limit = _number("limit", _FEW_CHUNKS, _MOST_CHUNKS)
    last = first + max(1, limit)
    body_json: dict[str, JSON] = {
        "chunk_count": len(found.chunks),
        "chunks": [_chunk_json(*one, found.text) for one in enumerate(found.chunks[first:last], first)],
    }
    if last < len(found.chunks):
        body_json["next"] = url_for(
            "api.document_chunks", document_id=document.id, cursor=last, limit=request.args.get("limit")
        )
    return jsonify(body_json)


def _number(name: str, default: int, most: int) -> int:
    given = request.args.get(name, "")
    if given and not (given.isascii() and given.isdigit() and len(given) < 10):
        raise BadRequest(f"{name} is a number, 0 or more.")
    return min(int(given), most) if given else default


def _table_json(document: Document, number: int, table: Table) -> JSON:
    return {
        "number": number,
        "title": table.title,
        "page": table.page,
        "row_count": len(table.rows),
        "column_count": len(table.rows[0]) if table.rows else 0,
        "rows": table.to_json()["rows"],
        "links": {"csv": url_for("api.document_table_csv", document_id=document.id, number=number)},
    }


def _chunk_json(index: int, chunk: Chunk, text: str) -> dict[str, JSON]:
    return {"index": index, **chunk.to_json(), "text": text[chunk.start : chunk.end]}


def _document(document_id: str) -> Document:
    return services().queries.document(document_id, owner=owner_filter())
