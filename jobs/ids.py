"""Identifiers: time-ordered UUIDs, and the check of those that come from outside."""

from __future__ import annotations

import os
import time
import uuid


def new_id() -> str:
    """Return a new UUID, version 7: sorts by the millisecond of its making.

    Source: RFC 9562, section 5.7.
    """
    millis = time.time_ns() // 1_000_000
    value = (millis & (2**48 - 1)) << 80 | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) | (0x7 << 76)
    value = value & ~(0x3 << 62) | (0x2 << 62)
    return str(uuid.UUID(int=value))


def parse_id(raw: str) -> str | None:
    """Return the canonical spelling of a UUID, or ``None`` when it is none."""
    try:
        return str(uuid.UUID(raw))
    except ValueError:
        return None
