"""The bytes of documents in a local folder, named by their SHA-256.

A file becomes visible only whole: written under a temporary name in the same file system, fsynced, renamed
into ``blobs/aa/<sha256>``, and the folder fsynced. Only then may a row name it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import sys
import tempfile
from pathlib import Path
from typing import BinaryIO

from jobs.errors import StorageFull

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class Spool:
    """An upload on its way to the disk: a file-like object that hashes and counts what is written.

    Args:
        folder: where the temporary file is made.
        limit: bytes after which nothing more is kept and :attr:`too_large` is set.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, name = tempfile.mkstemp(dir=folder, prefix="upload-")
        self.path = Path(name)
        self.size = 0
        self.too_large = False
        self._file: BinaryIO = os.fdopen(handle, "w+b")
        self._hash = hashlib.sha256()
        self._limit = limit

    @property
    def sha256(self) -> str:
        """The hash of what was written, in hexadecimal."""
        return self._hash.hexdigest()

    def write(self, chunk: bytes) -> int:
        """Take the next bytes.

        Raises:
            StorageFull: the disk or quota is full.
        """
        self.size += len(chunk)
        if self.size > self._limit:
            self.too_large = True
            return len(chunk)
        self._hash.update(chunk)
        try:
            self._file.write(chunk)
        except OSError as error:
            raise _storage_error(error) from error
        return len(chunk)

    def read(self, size: int = -1) -> bytes:
        """Read back what was written."""
        return self._file.read(size)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move; the parser of forms rewinds a file when it is complete."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Return the position."""
        return self._file.tell()

    def close(self) -> None:
        """Close the file; what was not stored is deleted."""
        self.discard()

    def discard(self) -> None:
        """Close and delete the temporary file; harmless after it was stored."""
        with contextlib.suppress(OSError):
            self._file.close()
        self.path.unlink(missing_ok=True)

    def flush_to_disk(self) -> None:
        """Make the bytes durable under their temporary name.

        Raises:
            StorageFull: the disk or quota is full.
        """
        try:
            self._file.flush()
            sync_file(self._file.fileno())
            self._file.close()
        except OSError as error:
            raise _storage_error(error) from error


class BlobStore:
    """The folder of bytes.

    Args:
        data_dir: the service's data folder.
    """

    def __init__(self, data_dir: Path) -> None:
        self._root = data_dir / "blobs"
        self.spool_dir = data_dir / "spool"

    def new_spool(self, limit: int) -> Spool:
        """Begin an upload of at most ``limit`` bytes.

        Raises:
            StorageFull: no temporary file can be made.
        """
        try:
            return Spool(self.spool_dir, limit)
        except OSError as error:
            raise _storage_error(error) from error

    def store(self, spool: Spool) -> str:
        """Make an upload durable and give it its name.

        Args:
            spool: a complete upload; closed afterwards.

        Returns:
            Its SHA-256.

        Raises:
            StorageFull: the disk or quota is full; nothing was stored.
        """
        sha256 = spool.sha256
        target = self.path(sha256)
        spool.flush_to_disk()
        try:
            fresh_folder = not target.parent.exists()
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            spool.path.rename(target)
            sync_folder(target.parent)
            if fresh_folder:
                sync_folder(self._root)
        except OSError as error:
            raise _storage_error(error) from error
        return sha256

    def path(self, sha256: str) -> Path:
        """Return where the bytes with this hash are, or would be."""
        return self._root / sha256[:2] / sha256

    def open(self, sha256: str) -> BinaryIO:
        """Open the bytes for reading.

        Raises:
            FileNotFoundError: there are none with this hash.
        """
        return self.path(sha256).open("rb")


def sync_file(handle: int) -> None:
    """Wait until the file's bytes are on the disk; macOS needs a stronger call than fsync for that."""
    full_sync = getattr(fcntl, "F_FULLFSYNC", None)
    if sys.platform == "darwin" and full_sync is not None:
        fcntl.fcntl(handle, full_sync)
    else:
        os.fsync(handle)


def sync_folder(folder: Path) -> None:
    """Wait until a folder's entries are on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _storage_error(error: OSError) -> Exception:
    if error.errno in _FULL:
        return StorageFull("The server's disk is full. Nothing was stored; try again later.")
    return error
