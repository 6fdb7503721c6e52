"""Takes out what a document holds: attachments of mails, members of archives. Runs in the cage."""

from __future__ import annotations

from pathlib import Path

from jobs.extraction import media_types as mt
from jobs.extraction.members.archives import unpack_tar, unpack_zip
from jobs.extraction.members.folder import Enough, MemberFolder
from jobs.extraction.members.mail import unpack_mail, unpack_mailbox
from jobs.extraction.reading import Source

# Imported with the child: once it is shut in, it finds no module on the disk.
_UNPACKERS = {
    mt.EML: unpack_mail,
    mt.MBOX: unpack_mailbox,
    mt.ZIP: unpack_zip,
    mt.TAR: unpack_tar,
    mt.GZIP: unpack_tar,
}
_NOT_TAKEN = {
    mt.MSG: "Attachments of Outlook messages (.msg) are named here, and not read.",
    "application/x-7z-compressed": "The members of a 7-Zip archive are named here, and not read.",
}


def unpack(source: Source, folder: Path, warnings: list[str]) -> list[str]:
    """Write the members of a mail or archive as the files ``0``, ``1`` and so on.

    What cannot be taken out spoils nothing of the document's own text: it is told in a warning.

    Args:
        source: the document, and the bounds.
        folder: made when there is a member; holds nothing else.
        warnings: gets a sentence for each cause that something was left out.

    Returns:
        The members' names as their sender gave them, in the order of the files.
    """
    if source.media_type in _NOT_TAKEN:
        warnings.append(_NOT_TAKEN[source.media_type])
    if source.media_type not in _UNPACKERS:
        return []
    into = MemberFolder(folder, source.limits)
    try:
        _UNPACKERS[source.media_type](source, into)
    except Enough:
        pass
    except Exception:  # noqa: BLE001 - a stranger's archive breaks libraries in any way
        into.leave_out("they could not be read")
    warnings.extend(into.warnings())
    return into.names
