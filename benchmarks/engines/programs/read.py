"""Read PDFs with one engine and write what it found: ``read.py ENGINE RESULT FILE...``.

Runs in the engine's own environment, and so imports nothing of this project. The result is a JSON object by
file name: ``tables`` by page as rows of texts, ``pages``, ``chars`` of text, or ``error``.
"""

import asyncio
import contextlib
import json
import sys
from pathlib import Path


def liteparse(path):
    import liteparse

    parser = liteparse.LiteParse(
        ocr_enabled=False, output_format="markdown", keep_headers_footers=True, extract_blocks=True,
        image_mode="off", num_workers=1, max_pages=5_000, quiet=True,
    )  # fmt: skip
    pages = parser.parse(path.read_bytes()).pages
    tables = {}
    for page in pages:
        for block in page.blocks:
            if block.kind == "table":
                rows = ([block.header] if block.header else []) + block.rows
                tables.setdefault(page.page_num, []).append([[cell.text for cell in row] for row in rows])
    return tables, len(pages), sum(len(page.markdown) for page in pages)


def xberg(path):
    import xberg

    config = xberg.ExtractionConfig(
        use_cache=False, disable_ocr=True, enable_quality_processing=False, output_format="markdown"
    )
    document = xberg.ExtractInput(
        kind="bytes", bytes=path.read_bytes(), mime_type="application/pdf", filename="document"
    )
    result = asyncio.run(xberg.extract(document, config)).results[0]
    tables = {}
    for table in result.tables:
        tables.setdefault(table.page_number, []).append([list(row) for row in table.cells])
    return tables, 0, len(result.content)


def pdfplumber(path):
    import pdfplumber

    tables, chars = {}, 0
    with pdfplumber.open(path) as document:
        for number, page in enumerate(document.pages, 1):
            chars += len(page.extract_text() or "")
            for rows in page.extract_tables():
                tables.setdefault(number, []).append([[cell or "" for cell in row] for row in rows])
        return tables, len(document.pages), chars


def camelot(path):
    import camelot

    tables = {}
    for table in camelot.read_pdf(
        str(path), pages="all", flavor="lattice", engine="combined", suppress_stdout=True
    ):
        tables.setdefault(table.page, []).append(table.df.to_numpy().tolist())
    return tables, 0, 0


def pypdf(path):
    import pypdf

    document = pypdf.PdfReader(path)
    return {}, len(document.pages), sum(len(page.extract_text()) for page in document.pages)


def pypdfium2(path):
    import pypdfium2

    document = pypdfium2.PdfDocument(path)
    texts = [page.get_textpage().get_text_range() for page in document]
    return {}, len(texts), sum(map(len, texts))


def main():
    engine, result, *files = sys.argv[1:]
    found = {}
    for file in map(Path, files):
        try:
            with contextlib.redirect_stdout(sys.stderr):
                tables, pages, chars = globals()[engine](file)
            found[file.name] = {"tables": tables, "pages": pages, "chars": chars}
        except Exception as error:  # noqa: BLE001
            found[file.name] = {"error": type(error).__name__}
    Path(result).write_text(json.dumps(found))


main()
