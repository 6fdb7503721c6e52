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
import re
import secrets
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from io import FileIO
from pathlib import Path
from typing import BinaryIO

from jobs.errors import StorageFull
from jobs.free_space import require_free_bytes

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_SPOOL_PREFIX = "upload-"
# What tells one kind of file from another stands in these.
HEAD_BYTES = 8192
# How much is written between two looks at the disk's free space.
_LOOK_BYTES = 8 * 1024 * 1024
_FOLDER = re.compile("[0-9a-f]{2}")
_HASH = re.compile("[0-9a-f]{64}")


class Spool:
    """An upload on its way to the disk: a file-like object that hashes and counts what is written.

    Args:
        folder: where the temporary file is made.
        limit: bytes after which nothing more is kept and :attr:`too_large` is set.
        min_free_bytes: how much the disk must have left, now and while the file grows; 0 for no look.

    Attributes:
        path: where the bytes are, under a temporary name.
        size: how many bytes came.
        head: the first :data:`HEAD_BYTES` of them, so that nobody has to read them back.
        too_large: whether there were more than ``limit``.

    Raises:
        StorageFull: it has less.
    """

    def __init__(self, folder: Path, limit: int, min_free_bytes: int = 0) -> None:
        try:
            require_free_bytes(folder, min_free_bytes)
            self.path, self._file = _make_temporary(folder)
        except FileNotFoundError:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            require_free_bytes(folder, min_free_bytes)
            self.path, self._file = _make_temporary(folder)
        self.size = 0
        self.too_large = False
        self.head = b""
        self._hash = hashlib.sha256()
        self._limit = limit
        self._min_free_bytes = min_free_bytes
        self._next_look = _LOOK_BYTES
        self._discarded = False

    @property
    def sha256(self) -> str:
        """The hash of what was written, in hexadecimal."""
        return self._hash.hexdigest()

    def write(self, chunk: bytes | memoryview) -> int:
        """Take the next bytes; they are hashed and written as they are, without a copy.

        Raises:
            StorageFull: the disk or quota is full, or nearly.
        """
        self.size += len(chunk)
        if self.size > self._limit:
            self.too_large = True
            return len(chunk)
        if self.size >= self._next_look:
            require_free_bytes(self.path.parent, self._min_free_bytes)
            self._next_look = self.size + _LOOK_BYTES
        if len(self.head) < HEAD_BYTES:
            self.head += bytes(chunk[: HEAD_BYTES - len(self.head)])
        self._hash.update(chunk)
        try:
            self._write(chunk)
        except OSError as error:
            raise _storage_error(error) from error
        return len(chunk)

    def _write(self, chunk: bytes | memoryview) -> None:
        written = self._file.write(chunk)
        # A disk that fills takes a part, and tells why at the next try.
        while written < len(chunk):
            written += self._file.write(memoryview(chunk)[written:])

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
        if self._discarded:
            return
        self._discarded = True
        with contextlib.suppress(OSError):
            self._file.close()
        self.path.unlink(missing_ok=True)

    def flush_to_disk(self) -> None:
        """Make the bytes durable under their temporary name, or a new one when that was used up.

        Raises:
            StorageFull: the disk or quota is full.
        """
        try:
            if not self.path.exists():
                self._copy()
            sync_file(self._file.fileno())
        except OSError as error:
            raise _storage_error(error) from error

    def _copy(self) -> None:
        with self._file as source:
            self.path, self._file = _make_temporary(self.path.parent)
            source.seek(0)
            shutil.copyfileobj(source, self._file)


class BlobStore:
    """The folder of bytes.

    Args:
        data_dir: the service's data folder.
    """

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._root = data_dir / "blobs"
        self.spool_dir = data_dir / "spool"

    def new_spool(self, limit: int, min_free_bytes: int = 0) -> Spool:
        """Begin an upload of at most ``limit`` bytes.

        Args:
            limit: see :class:`Spool`.
            min_free_bytes: see :class:`Spool`.

        Raises:
            StorageFull: no temporary file can be made, or the disk is nearly full.
        """
        try:
            return Spool(self.spool_dir, limit, min_free_bytes)
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
        try:
            return self.store_all([spool])[0]
        finally:
            spool.discard()

    def store_all(self, spools: Sequence[Spool]) -> list[str]:
        """Make uploads durable and give them their names; each folder is fsynced once.

        Args:
            spools: complete uploads. They stay open, so that one can be stored once more should its file
                be deleted before a row names it; to be discarded by the caller.

        Returns:
            Their SHA-256, in order.

        Raises:
            StorageFull: the disk or quota is full; no row may name any of them.
        """
        hashes = [spool.sha256 for spool in spools]
        for spool in spools:
            spool.flush_to_disk()
        try:
            made_folder = False
            for spool, sha256 in zip(spools, hashes, strict=True):
                made_folder |= self._rename(spool, sha256)
            for folder in dict.fromkeys(self.path(sha256).parent for sha256 in hashes):
                sync_folder(folder)
            if made_folder:
                sync_folder(self._root)
        except OSError as error:
            raise _storage_error(error) from error
        return hashes

    def _rename(self, spool: Spool, sha256: str) -> bool:
        """Give an upload its name, and say whether its folder had to be made first."""
        target = self.path(sha256)
        try:
            spool.path.rename(target)
        except FileNotFoundError:
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            spool.path.rename(target)
            return True
        return False

    def path(self, sha256: str) -> Path:
        """Return where the bytes with this hash are, or would be."""
        return self._root / sha256[:2] / sha256

    def open(self, sha256: str) -> BinaryIO:
        """Open the bytes for reading.

        Raises:
            FileNotFoundError: there are none with this hash.
        """
        return self.path(sha256).open("rb")

    def size(self, sha256: str) -> int | None:
        """Return how many bytes are stored under this hash, or ``None`` when there is no such file."""
        try:
            return self.path(sha256).stat().st_size
        except FileNotFoundError:
            return None

    def delete(self, sha256: str) -> bool:
        """Delete bytes for good; only under the lock of :mod:`jobs.bytes_lock`, when no row names them.

        Returns:
            Whether there were any.
        """
        try:
            self.path(sha256).unlink()
        except FileNotFoundError:
            return False
        return True

    def folders(self) -> list[str]:
        """Return the folders that files stand in: the first two digits of their hashes, in order."""
        try:
            return sorted(entry.name for entry in os.scandir(self._root) if _FOLDER.fullmatch(entry.name))
        except FileNotFoundError:
            return []

    def hashes_in(self, folder: str) -> Iterator[str]:
        """Yield the hashes of the files in one of :meth:`folders`, in no order."""
        with contextlib.suppress(FileNotFoundError), os.scandir(self._root / folder) as entries:
            for entry in entries:
                if _HASH.fullmatch(entry.name) and entry.name.startswith(folder):
                    yield entry.name

    def delete_old_spools(self, older_than_seconds: float) -> int:
        """Delete what uploads left behind that never ended.

        Args:
            older_than_seconds: only those that nothing was written to for so long, by this host's clock.

        Returns:
            How many there were.
        """
        deleted = 0
        for path in self.spool_dir.glob(f"{_SPOOL_PREFIX}*"):
            # Its upload may end, and take the file away, at any moment.
            with contextlib.suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > older_than_seconds:
                    path.unlink()
                    deleted += 1
        return deleted

    def require_free(self, floor: int, wanted: int) -> None:
        """Refuse what would not leave the disk enough room.

        Args:
            floor: bytes that must stay free; 0 for no look.
            wanted: bytes that are about to be written.

        Raises:
            StorageFull: there is less.
        """
        require_free_bytes(self._data_dir, floor, wanted)


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


def _make_temporary(folder: Path) -> tuple[Path, FileIO]:
    """Make an empty file for what arrives; unbuffered, because what arrives comes in large pieces."""
    path = folder / f"{_SPOOL_PREFIX}{secrets.token_hex(8)}"
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    return path, FileIO(os.open(path, flags, 0o600), "r+")


def _storage_error(error: OSError) -> Exception:
    if error.errno in _FULL:
        return StorageFull(
            "The server's disk is full. Nothing was stored; send it again later. "
            "Its operator must free space on the disk of DATA_DIR."
        )
    return error
