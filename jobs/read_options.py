"""What a sender may ask of a reading: words in, one value through the queue, and the cage's value out.

An item carries its options as a short text, nothing when all is as usual. A password is in it under a seal
that only this service's secret key opens, and goes with the item's completion. What stays is a hash under
that key, by which who knows the password is told from who does not.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import replace

from cryptography.fernet import Fernet, InvalidToken

from jobs.errors import ConfigurationError, Permanent
from jobs.extraction import Ocr, ReadOptions
from jobs.extraction.options import describe_pages
from jobs.model import JSON
from jobs.settings import Settings, load_or_create_secret_key

DEFAULT_PRESET = "standard"
PASSWORD_CODES = frozenset({"encrypted", "wrong_password", "password_lost"})
"""The causes of a failure that the right password may mend."""

OPTION_FIELDS = ("preset", "languages", "ocr", "pages", "tables", "password")
_MOST_LANGUAGES = 5
_MOST_RANGES = 100
_LAST_PAGE = 1_000_000
_LONGEST_PASSWORD = 512
_LANGUAGE = re.compile(r"[a-z]{2}")
_RANGE = re.compile(r"(\d{1,7})(?:-(\d{1,7}))?")
_YES, _NO = frozenset({"true", "1", "yes", "on"}), frozenset({"false", "0", "no", "off"})
_PRESET_FIELDS = frozenset({"languages", "ocr", "pages", "tables"})
_PRESET_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")

BUILT_IN_PRESETS: dict[str, ReadOptions] = {
    DEFAULT_PRESET: ReadOptions(),
    "scan": ReadOptions(ocr=Ocr.ALWAYS),
    "fast": ReadOptions(ocr=Ocr.NEVER, tables=False),
}


def presets_of(settings: Settings) -> dict[str, ReadOptions]:
    """Return the presets by name: those that come with the service, and over them the operator's.

    Raises:
        ConfigurationError: ``PRESETS`` cannot be meant.
    """
    try:
        own = json.loads(settings.presets or "{}")
        return BUILT_IN_PRESETS | {name: _preset(name, own[name]) for name in own}
    except (ValueError, TypeError) as error:
        raise ConfigurationError(
            f"PRESETS cannot be read ({error}). It is a JSON object of names, each with its options, "
            'as in {"german-scans": {"languages": "de", "ocr": "always"}}.'
        ) from error


def _preset(name: str, said: object) -> ReadOptions:
    if not _PRESET_NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name of small letters, digits, - and _")
    if not isinstance(said, dict) or not set(said) <= _PRESET_FIELDS:
        raise ValueError(f"{name!r} may have {', '.join(sorted(_PRESET_FIELDS))}")
    return parse_options(said, {})


def parse_options(said: Mapping[str, object], presets: Mapping[str, ReadOptions]) -> ReadOptions:
    """Read options; what is missing or empty is as the preset has it, or else the default preset.

    Args:
        said: texts or JSON values under the names of :data:`OPTION_FIELDS`; others are ignored.
        presets: by name; without the default one it is as usual.

    Raises:
        ValueError: one of them cannot be meant; the sentence tells what can.
    """
    given = {name: said[name] for name in OPTION_FIELDS if said.get(name) not in (None, "", [])}
    options = presets.get(DEFAULT_PRESET, ReadOptions())
    if "preset" in given:
        name = str(given["preset"])
        if name not in presets:
            raise ValueError(f"preset is one of {', '.join(presets)}")
        options = replace(presets[name], preset=name)
    if "languages" in given:
        options = replace(options, languages=_languages(given["languages"]))
    if "ocr" in given:
        if str(given["ocr"]) not in set(Ocr):
            raise ValueError(f"ocr is one of {', '.join(Ocr)}")
        options = replace(options, ocr=Ocr(str(given["ocr"])))
    if "pages" in given:
        options = replace(options, pages=_pages(str(given["pages"])))
    if "tables" in given:
        word = str(given["tables"]).lower()
        if word not in _YES | _NO:
            raise ValueError("tables is true or false")
        options = replace(options, tables=word in _YES)
    if "password" in given:
        password = str(given["password"])
        if len(password) > _LONGEST_PASSWORD:
            raise ValueError(f"password has at most {_LONGEST_PASSWORD} characters")
        options = replace(options, password=password)
    return options


def _languages(raw: object) -> tuple[str, ...]:
    words = raw if isinstance(raw, list) else str(raw).split(",")
    codes = tuple(dict.fromkeys(str(word).strip().lower() for word in words))
    if len(codes) > _MOST_LANGUAGES or not all(_LANGUAGE.fullmatch(code) for code in codes):
        raise ValueError(f"languages are up to {_MOST_LANGUAGES} codes of two letters, as in de,en")
    return codes


def _pages(raw: str) -> tuple[tuple[int, int], ...]:
    ranges: list[tuple[int, int]] = []
    for part in raw.replace(" ", "").split(","):
        match = _RANGE.fullmatch(part)
        first = int(match[1]) if match else 0
        last = int(match[2] or match[1]) if match else 0
        if not 0 < first <= last <= _LAST_PAGE or len(ranges) >= _MOST_RANGES:
            raise ValueError("pages are numbers and ranges from 1, as in 1-5,8")
        ranges.append((first, last))
    merged: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return tuple(merged)


def pack_options(options: ReadOptions, settings: Settings) -> str | None:
    """Write options for an item, ``None`` when all is as usual; a password is sealed, and hashed."""
    said = _kept(options, settings)
    if options.preset not in (None, DEFAULT_PRESET):
        said["preset"] = options.preset
    if options.password is not None:
        said["sealed"] = _seal(settings).encrypt(options.password.encode()).decode("ascii")
    return json.dumps(said, sort_keys=True, separators=(",", ":")) if said else None


def unpack_options(packed: str | None, settings: Settings) -> ReadOptions:
    """Read an item's options.

    Raises:
        Permanent: the password cannot be opened, because the secret key has changed.
    """
    if packed is None:
        return ReadOptions()
    said = json.loads(packed)
    preset = said.pop("preset", None)
    options = replace(parse_options(said, {}), preset=preset)
    if "sealed" not in said:
        return options
    try:
        password = _seal(settings).decrypt(said["sealed"]).decode()
    except InvalidToken as error:
        raise Permanent(
            "The password can no longer be opened, because the service's secret key has changed. "
            "Send it again.",
            code="password_lost",
        ) from error
    return replace(options, password=password)


def options_again(packed: str | None, settings: Settings) -> ReadOptions:
    """Return an item's options for another job; without its password where that can no longer be opened."""
    try:
        return unpack_options(packed, settings)
    except Permanent:
        return unpack_options(_without(packed, "sealed"), settings)


def options_for_children(packed: str | None) -> str | None:
    """Return the options for what is taken out of a document: its password and its pages are its own."""
    return _without(packed, "sealed", "password_hash", "pages")


def options_json(packed: str | None) -> dict[str, JSON]:
    """Return an item's options for a reader; of a password only that one was given."""
    said = json.loads(packed) if packed is not None else {}
    is_locked = said.pop("password_hash", None) is not None
    said.pop("sealed", None)
    return {**said, "password": True} if is_locked else said


def preset_json(options: ReadOptions) -> dict[str, JSON]:
    """Return all that a preset says, as an upload would say it."""
    return {
        "ocr": options.ocr.value,
        "languages": list[JSON](options.languages),
        "pages": describe_pages(options.pages) or None,
        "tables": options.tables,
    }


def asks_the_same(packed: str | None, options: ReadOptions, settings: Settings) -> bool:
    """Say whether an item is, or was, read as these options ask, with the same password or none."""
    said = json.loads(_without(packed, "sealed", "preset") or "{}")
    return bool(said == _kept(options, settings))


def has_other_password(packed: str | None, options: ReadOptions, settings: Settings) -> bool:
    """Say whether an item has a password that these options do not have."""
    kept = json.loads(packed or "{}").get("password_hash")
    return kept is not None and kept != _kept(options, settings).get("password_hash")


def key_parts(options: ReadOptions, settings: Settings) -> dict[str, JSON]:
    """Return what makes the product of these options another one; nothing when all is as usual.

    A password counts by a hash under the secret key: who has the same file without it gets nothing from
    what was read with it.
    """
    parts = _unusual(options)
    if options.password is not None:
        parts["password"] = _password_hash(options.password, settings)
    return parts


def _kept(options: ReadOptions, settings: Settings) -> dict[str, JSON]:
    said = _unusual(options)
    if options.password is not None:
        said["password_hash"] = _password_hash(options.password, settings)
    return said


def _without(packed: str | None, *names: str) -> str | None:
    said = json.loads(packed) if packed is not None else {}
    left = {name: value for name, value in said.items() if name not in names}
    return json.dumps(left, sort_keys=True, separators=(",", ":")) if left else None


def _password_hash(password: str, settings: Settings) -> str:
    key = load_or_create_secret_key(settings).encode()
    return hmac.new(key, b"password:" + password.encode(), hashlib.sha256).hexdigest()


def _unusual(options: ReadOptions) -> dict[str, JSON]:
    said: dict[str, JSON] = {}
    if options.languages:
        said["languages"] = ",".join(options.languages)
    if options.ocr is not Ocr.AUTO:
        said["ocr"] = options.ocr.value
    if options.pages:
        said["pages"] = describe_pages(options.pages)
    if not options.tables:
        said["tables"] = False
    return said


def _seal(settings: Settings) -> Fernet:
    secret = load_or_create_secret_key(settings).encode()
    key = hmac.new(secret, b"docqueue: passwords of documents", hashlib.sha256).digest()
    return Fernet(base64.urlsafe_b64encode(key))
