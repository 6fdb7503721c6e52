"""Pages, Numbers and Keynote: xberg reads them once their package is in the usual shape."""

from __future__ import annotations

import io
import zipfile

from jobs.extraction.faults import Fault, FaultCode
from jobs.extraction.readers import office
from jobs.extraction.reading import Reading, Source

_MAX_BYTES = 200 * 1024 * 1024
# Present in every protected package of 2013 and later.
_VERIFIERS = (".iwpv2", ".iwph")


def read(source: Source) -> Reading:
    """Read an iWork document.

    Raises:
        Fault: it is protected, damaged, or unpacks to too much.
    """
    try:
        with zipfile.ZipFile(source.path) as package:
            data = _usual_shape(package)
    except (zipfile.BadZipFile, KeyError, EOFError) as error:
        raise Fault(FaultCode.UNREADABLE) from error
    return office.read_bytes(source, source.path.read_bytes() if data is None else data)


def _usual_shape(package: zipfile.ZipFile) -> bytes | None:
    """Return the package with its inner ``Index.zip`` laid open; ``None`` when it has none.

    Some versions zip the document's parts once more, and some put a folder around everything.
    """
    names = package.namelist()
    if any(name.endswith(_VERIFIERS) for name in names) or _is_locked_2009(package):
        raise Fault(FaultCode.ENCRYPTED)
    inner = next((name for name in names if name.endswith("Index.zip")), None)
    if inner is None:
        return None
    prefix = inner.removesuffix("Index.zip")
    with io.BytesIO() as buffer:
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as usual:
            left = _MAX_BYTES
            with zipfile.ZipFile(io.BytesIO(_bounded(package, inner, left))) as index:
                for name in index.namelist():
                    left = _copy(index, name, usual, name, left)
            for name in names:
                if name.startswith(prefix + "Metadata/") and not name.endswith("/"):
                    left = _copy(package, name, usual, name.removeprefix(prefix), left)
        return buffer.getvalue()


def _is_locked_2009(package: zipfile.ZipFile) -> bool:
    """Say whether the XML of a 2009 document is stored by a method that only encryption uses."""
    methods = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
    return any(
        entry.filename.endswith(("index.xml", "index.apxl")) and entry.compress_type not in methods
        for entry in package.infolist()
    )


def _copy(source: zipfile.ZipFile, name: str, target: zipfile.ZipFile, as_name: str, left: int) -> int:
    data = _bounded(source, name, left)
    target.writestr(as_name, data)
    return left - len(data)


def _bounded(package: zipfile.ZipFile, name: str, limit: int) -> bytes:
    with package.open(name) as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise Fault(FaultCode.LIMIT_OUTPUT)
    return data
