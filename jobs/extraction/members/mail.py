"""Attachments of a mail, messages of a mailbox."""

from __future__ import annotations

import email
import email.policy
import mimetypes
from collections.abc import Iterator
from email.message import Message

from jobs.extraction.members.folder import MemberFolder
from jobs.extraction.reading import Source


def unpack_mail(source: Source, into: MemberFolder) -> None:
    """Take out the attachments of a mail; a mail that is attached comes out as one file."""
    with source.path.open("rb") as file:
        root = email.message_from_binary_file(file, policy=email.policy.default)
    for part in _attached(root):
        try:
            name, data = _name_of(part), _bytes_of(part)
        except Exception:  # noqa: BLE001 - the parser breaks at strangers' headers in any way
            into.leave_out("they are damaged")
            continue
        into.add(name, [data])


def unpack_mailbox(source: Source, into: MemberFolder) -> None:
    """Take out the messages of a mailbox, each as a mail."""
    message: list[bytes] = []
    number = 0
    for line in _lines_and_end(source):
        if line is None or line.startswith(b"From "):
            if message:
                number += 1
                into.add(f"message-{number}.eml", message)
            message = []
        else:
            message.append(line)


def _lines_and_end(source: Source) -> Iterator[bytes | None]:
    """Yield a mailbox's lines, ``From`` only where a message begins, and ``None`` at its end."""
    is_start = True
    with source.path.open("rb") as file:
        for line in file:
            yield line if is_start or not line.startswith(b"From ") else b">" + line
            is_start = not line.strip()
    yield None


def _attached(root: Message) -> Iterator[Message]:
    """Yield a mail's attachments in their order; pictures that stand in its text are part of it."""
    waiting: list[tuple[Message, bool]] = [(root, False)]
    while waiting:
        part, is_in_text = waiting.pop()
        if part is not root and part.get_content_type() == "message/rfc822":
            yield part
        elif part.is_multipart():
            is_related = part.get_content_type() == "multipart/related"
            below = part.get_payload()
            parts = [one for one in below if isinstance(one, Message)] if isinstance(below, list) else []
            waiting.extend((one, is_related) for one in reversed(parts))
        elif part is not root and _is_attachment(part, is_in_text=is_in_text):
            yield part


def _is_attachment(part: Message, *, is_in_text: bool) -> bool:
    if part.get_content_disposition() == "attachment":
        return True
    is_shown = is_in_text and part.get_content_maintype() == "image" and "content-id" in part
    return part.get_filename() is not None and not is_shown


def _name_of(part: Message) -> str:
    name = part.get_filename()
    if name:
        return name
    if part.get_content_type() == "message/rfc822":
        inner = part.get_payload(0)
        subject = inner.get("subject") if isinstance(inner, Message) else None
        return f"{str(subject or 'message')[:100].replace('/', ' ')}.eml"
    return "attachment" + (mimetypes.guess_extension(part.get_content_type()) or "")


def _bytes_of(part: Message) -> bytes:
    if part.get_content_type() == "message/rfc822":
        inner = part.get_payload(0) if part.is_multipart() else None
        if isinstance(inner, Message):
            return inner.as_bytes()
    data = part.get_payload(decode=True)
    return data if isinstance(data, bytes) else b""
