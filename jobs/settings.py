"""One frozen object with every setting, read and checked once at start.

Nothing else reads the environment. ``docs/configuration.md`` lists every field; a test keeps it true.
"""

from __future__ import annotations

import os
import re
import secrets
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

from jobs.errors import ConfigurationError
from jobs.extraction import CageLevel
from jobs.extraction.ocr_setup import RAPIDOCR_COMMAND, OcrEngine
from jobs.model import OPERATION_NAMES
from jobs.states import RetryPolicy

T = TypeVar("T")

# A UNIX socket's path must fit into sockaddr_un: 108 bytes on Linux, 104 on macOS.
_LONGEST_SOCKET_PATH = 100


@dataclass(frozen=True, slots=True)
class Settings:
    """Every setting, validated.

    Attributes carry the environment variable's name in lower case.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    data_dir: Path = field(default_factory=lambda: Path("data").absolute())
    database_url: str = ""
    redis_url: str = ""
    secret_key: str = field(default="", repr=False)
    workers: int = 1
    web_threads: int = 24
    queue_name: str = "documents"
    more_queues: str = ""
    max_running_per_owner: int = 0
    policy_process: str = ""
    policy_extract: str = ""
    policy_analyze: str = ""
    policy_images: str = ""
    policy_retry_pages: str = ""
    max_upload_bytes: int = 50 * 1024 * 1024
    max_files_per_upload: int = 100
    min_free_bytes: int = 64 * 1024 * 1024
    idempotency_hours: float = 24.0
    retain_completed_days: float = 0.0
    retain_failed_days: float = 0.0
    retain_cancelled_days: float = 0.0
    retain_documents_days: float = 0.0
    bytes_grace_hours: float = 24.0
    lease_seconds: float = 60.0
    heartbeat_seconds: float = 15.0
    sweep_seconds: float = 5.0
    announce_again_seconds: float = 15.0
    max_failures: int = 5
    max_crashes: int = 3
    backoff_base_seconds: float = 2.0
    backoff_cap_seconds: float = 900.0
    job_timeout_seconds: int = 600
    extract_timeout_seconds: float = 55.0
    extract_memory_bytes: int = 2 * 1024**3
    cage_level: str = "limits"
    presets: str = ""
    max_members: int = 200
    max_member_depth: int = 3
    max_members_in_all: int = 1000
    ocr_engine: str = "tesseract"
    ocr_languages: str = "en"
    ocr_models_dir: str = ""
    llm_base_url: str = ""
    llm_api_key: str = field(default="", repr=False)
    llm_model: str = ""
    llm_timeout_seconds: float = 60.0
    llm_max_running: int = 0
    cron_token: str = field(default="", repr=False)
    session_hours: int = 168
    secure_cookies: bool = False
    trusted_proxies: int = 0
    log_level: str = "INFO"
    log_format: str = "auto"

    @property
    def retry_policy(self) -> RetryPolicy:
        """The limits of every operation that has none of its own."""
        return RetryPolicy(
            max_failures=self.max_failures,
            max_crashes=self.max_crashes,
            base_seconds=self.backoff_base_seconds,
            cap_seconds=self.backoff_cap_seconds,
            timeout_seconds=self.job_timeout_seconds,
        )

    def policy(self, operation: str) -> RetryPolicy:
        """Return the limits that :func:`jobs.states.decide` works with for an operation.

        Args:
            operation: one of :data:`jobs.model.OPERATION_NAMES`.
        """
        return _parse_policy(f"policy_{operation}", getattr(self, f"policy_{operation}"), self.retry_policy)

    @property
    def longest_timeout_seconds(self) -> int:
        """The longest time that an attempt at any operation may take."""
        return max(self.policy(operation).timeout_seconds for operation in OPERATION_NAMES)

    @property
    def queue_names(self) -> tuple[str, ...]:
        """Every queue that items may be put into; the first is where they go unless told otherwise."""
        return (self.queue_name, *(name.strip() for name in self.more_queues.split(",") if name.strip()))

    @property
    def ocr_language_codes(self) -> tuple[str, ...]:
        """The languages that OCR looks for where a document's sender names none, the main one first."""
        return tuple(code.strip().lower() for code in self.ocr_languages.split(",") if code.strip())

    @property
    def uses_sqlite(self) -> bool:
        """Whether the database is the embedded one."""
        return self.database_url.startswith("sqlite")

    @property
    def uses_embedded_redis(self) -> bool:
        """Whether the private Redis-compatible server is ours to start."""
        return self.redis_url == embedded_redis_url(self.data_dir)

    @property
    def llm_enabled(self) -> bool:
        """Whether the analysis asks a model endpoint instead of the built-in analyzer."""
        return bool(self.llm_base_url and self.llm_model)


def embedded_redis_socket(data_dir: Path) -> Path:
    """Return the private Redis server's UNIX socket for a data folder."""
    socket = data_dir / "redis" / "redis.sock"
    if len(os.fsencode(socket)) <= _LONGEST_SOCKET_PATH:
        return socket
    digest = sha256(os.fsencode(data_dir)).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"docqueue-{os.getuid()}-{digest}" / "redis.sock"


def embedded_redis_url(data_dir: Path) -> str:
    """Return the address of the private Redis server for a data folder."""
    return f"unix://{embedded_redis_socket(data_dir)}"


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Read and check the settings.

    Args:
        environ: the variables to read; the process's environment when ``None``.

    Returns:
        The settings, with the embedded defaults filled in.

    Raises:
        ConfigurationError: a value cannot be read or contradicts another; the message names it.
    """
    env = os.environ if environ is None else environ
    values: dict[str, object] = {}
    for spec in fields(Settings):
        raw = env.get(spec.name.upper(), "").strip()
        if raw:
            values[spec.name] = _parse(spec.name, raw)
    data_dir = Path(str(values.get("data_dir", "data"))).expanduser().absolute()
    values["data_dir"] = data_dir
    values.setdefault("database_url", f"sqlite:///{data_dir / 'docqueue.db'}")
    values["database_url"] = _normalise_database_url(str(values["database_url"]))
    values.setdefault("redis_url", embedded_redis_url(data_dir))
    settings = Settings(**values)  # type: ignore[arg-type]  # each value was parsed by its field's type
    _check(settings)
    return settings


def prepare_data_dir(settings: Settings) -> None:
    """Create the data folder, private to this user, and prove that it can be written.

    Raises:
        ConfigurationError: the folder cannot be created or written.
    """
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        probe = settings.data_dir / f".write-probe-{os.getpid()}"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise ConfigurationError(
            f"The data folder {settings.data_dir} cannot be written ({error.strerror}). "
            "Set DATA_DIR to a folder that this user may write."
        ) from error


def load_or_create_secret_key(settings: Settings) -> str:
    """Return ``SECRET_KEY``, or the one kept in the data folder, made at the first start.

    Raises:
        ConfigurationError: the key file cannot be read or written.
    """
    if settings.secret_key:
        return settings.secret_key
    path = settings.data_dir / "secret_key"
    try:
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return path.read_text("ascii").strip()
        with os.fdopen(handle, "w", encoding="ascii") as file:
            key = secrets.token_urlsafe(48)
            file.write(key)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise ConfigurationError(
            f"The secret key in {path} cannot be read ({error.strerror}). Set SECRET_KEY, or repair the file."
        ) from error
    return key


def _parse(name: str, raw: str) -> object:
    default = {spec.name: spec for spec in fields(Settings)}[name].type
    if default == "bool":
        return _convert(name, raw, _boolean, "yes or no")
    if default == "int":
        return _convert(name, raw, int, "a whole number")
    if default == "float":
        return _convert(name, raw, float, "a number")
    return raw


_POLICY_FIELDS: dict[str, tuple[str, Callable[[str], float]]] = {
    "failures": ("max_failures", int),
    "crashes": ("max_crashes", int),
    "base": ("base_seconds", float),
    "cap": ("cap_seconds", float),
    "timeout": ("timeout_seconds", int),
}


def _parse_policy(name: str, raw: str, policy: RetryPolicy) -> RetryPolicy:
    """Read ``failures=3,base=5,cap=600,timeout=120`` over the limits that hold anyway."""
    for part in filter(None, (part.strip() for part in raw.split(","))):
        key, _, value = part.partition("=")
        if key.strip() not in _POLICY_FIELDS:
            raise ConfigurationError(
                f"{name.upper()} names {key.strip()!r}; it may set {', '.join(_POLICY_FIELDS)}, "
                "as in failures=3,base=5,cap=600,timeout=120."
            )
        member, convert = _POLICY_FIELDS[key.strip()]
        number = _convert(f"{name} ({key.strip()})", value.strip(), convert, "a number")
        if not number > 0:
            raise ConfigurationError(f"{name.upper()}: {key.strip()} must be above 0.")
        # Each number was read by its member's type.
        policy = replace(policy, **{member: number})  # type: ignore[arg-type]
    return policy


def _convert(name: str, raw: str, convert: Callable[[str], T], expected: str) -> T:
    try:
        return convert(raw)
    except ValueError as error:
        raise ConfigurationError(f"{name.upper()} must be {expected}, not {raw!r}.") from error


def _boolean(raw: str) -> bool:
    lowered = raw.lower()
    if lowered in {"1", "true", "yes", "on"}:
        return True
    if lowered in {"0", "false", "no", "off"}:
        return False
    raise ValueError(raw)


def _normalise_database_url(url: str) -> str:
    """Spell the driver out; platforms hand out ``postgres://``, which SQLAlchemy refuses."""
    for prefix in ("postgres://", "postgresql://"):
        if url.startswith(prefix):
            return "postgresql+psycopg://" + url.removeprefix(prefix)
    return url


def _check(settings: Settings) -> None:
    positive = (
        "workers", "web_threads", "max_upload_bytes", "max_files_per_upload", "lease_seconds",
        "heartbeat_seconds", "sweep_seconds", "announce_again_seconds", "max_failures", "max_crashes",
        "job_timeout_seconds", "extract_timeout_seconds", "extract_memory_bytes", "llm_timeout_seconds",
        "session_hours",
    )  # fmt: skip
    for name in positive:
        if not getattr(settings, name) > 0:
            raise ConfigurationError(f"{name.upper()} must be above 0.")
    not_negative = (
        "max_running_per_owner", "llm_max_running", "min_free_bytes", "idempotency_hours",
        "retain_completed_days", "retain_failed_days", "retain_cancelled_days", "retain_documents_days",
        "bytes_grace_hours",
    )  # fmt: skip
    for name in not_negative:
        if not getattr(settings, name) >= 0:
            raise ConfigurationError(f"{name.upper()} must not be below 0.")
    for operation in OPERATION_NAMES:
        settings.policy(operation)
    if len(set(settings.queue_names)) < len(settings.queue_names):
        raise ConfigurationError("QUEUE_NAME and MORE_QUEUES must name each queue once.")
    for name in settings.queue_names:
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,59}", name):
            raise ConfigurationError(
                f"A queue's name has 1 to 60 small letters, digits, - and _; {name!r} has others."
            )
    if not 0 < settings.port < 65536:
        raise ConfigurationError(f"PORT must be between 1 and 65535, not {settings.port}.")
    if settings.heartbeat_seconds * 2 > settings.lease_seconds:
        raise ConfigurationError("HEARTBEAT_SECONDS must be at most half of LEASE_SECONDS.")
    if not settings.database_url.startswith(("sqlite:///", "postgresql+psycopg://")):
        raise ConfigurationError("DATABASE_URL must start with sqlite:/// or postgresql://.")
    if not settings.redis_url.startswith(("redis://", "rediss://", "unix://")):
        raise ConfigurationError("REDIS_URL must start with redis://, rediss:// or unix://.")
    if bool(settings.llm_base_url) != bool(settings.llm_model):
        raise ConfigurationError("LLM_BASE_URL and LLM_MODEL must be set together.")
    try:
        CageLevel.named(settings.cage_level)
    except ValueError as error:
        raise ConfigurationError(f"CAGE_LEVEL must be {error}, not {settings.cage_level!r}.") from None
    _check_ocr(settings)
    if settings.log_format not in {"auto", "json", "console"}:
        raise ConfigurationError("LOG_FORMAT must be auto, json or console.")


def _check_ocr(settings: Settings) -> None:
    if settings.ocr_engine not in set(OcrEngine):
        raise ConfigurationError(f"OCR_ENGINE must be {' or '.join(OcrEngine)}, not {settings.ocr_engine!r}.")
    if not OcrEngine(settings.ocr_engine).is_installed:
        raise ConfigurationError(
            f"OCR_ENGINE is {settings.ocr_engine}, which is not installed. Run: {RAPIDOCR_COMMAND}"
        )
    codes = settings.ocr_language_codes
    if not codes or not all(re.fullmatch("[a-z]{2}", code) for code in codes):
        raise ConfigurationError(
            f"OCR_LANGUAGES must be ISO 639-1 codes as in en,de, not {settings.ocr_languages!r}."
        )
    if settings.ocr_models_dir and not Path(settings.ocr_models_dir).is_dir():
        raise ConfigurationError(f"OCR_MODELS_DIR names no folder: {settings.ocr_models_dir}")
