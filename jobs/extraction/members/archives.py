"""Members of ZIP and tar archives."""

from __future__ import annotations

import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO

from jobs.extraction.members.folder import MemberFolder
from jobs.extraction.reading import Source

_CHUNK_BYTES = 256 * 1024
_BROKEN = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, ValueError)


def unpack_zip(source: Source, into: MemberFolder) -> None:
    """Take out the files of a ZIP archive, in the order of its directory."""
    password = source.options.password
    with zipfile.ZipFile(source.path) as archive:
        for info in archive.infolist():
            if info.is_dir():
                continue
            if stat.S_ISLNK(info.external_attr >> 16):
                into.leave_out("they are links")
            elif _leads_out(info.filename):
                into.leave_out("their paths lead out of the archive")
            elif info.flag_bits & 1 and password is None:
                into.leave_out("they are protected by a password")
            else:
                try:
                    with archive.open(info, pwd=None if password is None else password.encode()) as file:
                        into.add(info.filename, _chunks(file), info.compress_size)
                except RuntimeError:
                    into.leave_out("the password does not open them")
                except _BROKEN:
                    into.leave_out("they are damaged or packed in an unusual way")


def unpack_tar(source: Source, into: MemberFolder) -> None:
    """Take out the files of a tar archive, packed or not; what is packed and no tar has no members."""
    try:
        archive = tarfile.open(source.path, "r|*")  # noqa: SIM115 - closed below; opening tells if it is one
    except tarfile.ReadError:
        return
    with archive:
        for info in archive:
            if info.isdir():
                continue
            if info.issym() or info.islnk():
                into.leave_out("they are links")
            elif not info.isfile():
                into.leave_out("they are no files")
            elif info.size > source.limits.members_bytes:
                # To come behind it all of it would have to be unpacked.
                raise into.enough("Not all members were taken out: one of them is too large.")
            elif _leads_out(info.name):
                into.leave_out("their paths lead out of the archive")
            else:
                file = archive.extractfile(info)
                if file is not None:
                    into.add(info.name, _chunks(file))


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK_BYTES):
        yield chunk


def _leads_out(name: str) -> bool:
    """Say whether a path is absolute or climbs; nothing is written there, but nobody honest sends it."""
    path = name.replace("\\", "/")
    return path.startswith("/") or path[1:3] == ":/" or ".." in path.split("/")
