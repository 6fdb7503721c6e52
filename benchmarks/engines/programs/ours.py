"""Read PDFs as the service reads them, each in its cage: ``ours.py RESULT FILE...``; as ``read.py`` does."""

import json
import sys
from pathlib import Path

from jobs.errors import DocQueueError
from jobs.extraction import Limits, extract, prepare


def main() -> None:
    """Read every file and write what was found."""
    result, *files = sys.argv[1:]
    found: dict[str, object] = {}
    prepare(wait_seconds=30)
    for file in map(Path, files):
        try:
            read = extract(file, filename=file.name, limits=Limits())
        except DocQueueError as error:
            found[file.name] = {"error": error.code}
            continue
        tables: dict[int, list[list[list[str]]]] = {}
        for table in read.tables:
            tables.setdefault(table.page or 0, []).append(table.rows)
        found[file.name] = {"tables": tables, "pages": read.page_count, "chars": len(read.markdown)}
    Path(result).write_text(json.dumps(found))


main()
