"""Office files behind a password: opened by msoffcrypto, then read as what is inside."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import msoffcrypto
from msoffcrypto.exceptions import DecryptionError, FileFormatError, InvalidKeyError

from jobs.extraction.faults import Fault, FaultCode
from jobs.extraction.readers import office
from jobs.extraction.reading import Reading, Source
from jobs.extraction.sniffing import sniff

_INNER_NAME = "opened"
_HEAD_BYTES = 8192


def read(source: Source) -> Reading:
    """Open a file with its password and read it.

    Raises:
        Fault: there is no password, it is the wrong one, or the file is damaged.
    """
    password = source.options.password
    if password is None:
        raise Fault(FaultCode.ENCRYPTED)
    opened = io.BytesIO()
    try:
        with source.path.open("rb") as file:
            protected = msoffcrypto.OfficeFile(file)
            # The check is told apart from what follows it: a damaged file has a right password too.
            protected.load_key(password=password, verify_password=True)
            protected.decrypt(opened)
    except (InvalidKeyError, DecryptionError) as error:
        raise Fault(FaultCode.WRONG_PASSWORD) from error
    except FileFormatError as error:
        raise Fault(FaultCode.UNREADABLE) from error
    data = opened.getvalue()
    # In the scratch folder, which is this process's own and goes with it.
    inner = Path(_INNER_NAME)
    inner.write_bytes(data)
    media_type = sniff(data[:_HEAD_BYTES], inner, source.filename)
    reading = office.read_bytes(dataclasses.replace(source, media_type=media_type), data)
    reading.engine = f"msoffcrypto+{reading.engine}"
    return reading
